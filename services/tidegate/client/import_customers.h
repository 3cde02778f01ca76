// `tidegate import customers`: a CSV file with external_userid,owner becomes customer_imported
// events.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "services/tidegate/client/client.h"

namespace tidegate::client {

struct ImportCustomersOptions {
  std::string corp;
  std::string file;
  std::string source = "customers";
};

// Errors as ImportPurchases. Importing the same file again changes nothing.
absl::Status ImportCustomers(const Client& client, const ImportCustomersOptions& options);

}  // namespace tidegate::client
