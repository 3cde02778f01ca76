// What `tidegate serve` is told on its command line. Not for limits and corps, which are files.
#pragma once

#include <string>

namespace tidegate {

struct ServeOptions {
  // Owned by the process while it runs; made when missing. Required.
  std::string data_dir;
  // JSON file of corps and their apps. Required.
  std::string corps_file;
  // JSON file of limits and waits; empty = the documented defaults.
  std::string limits_file;
  // Base URL of WeCom or of a stand-in for it; empty = WeCom itself.
  std::string wecom_url;
  // Listening addresses host:port; port 0 = any free one.
  std::string grpc_address = "127.0.0.1:7600";
  std::string callback_address = "127.0.0.1:7601";
  std::string admin_address = "127.0.0.1:7602";
  // Renamed into place when ready, with {grpc, callback, admin, pid}; empty = none.
  std::string ports_file;
  // Of every customer topic and of egress; fixed when the data directory is made.
  int partitions = 4;
  int lanes = 1;
};

}  // namespace tidegate
