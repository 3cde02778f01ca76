// Who owns a partition, and whether a former owner has ended: a call in doubt may be settled only
// when the process that made it can write no more.
#pragma once

#include <string>

namespace tidegate::process {

// This process as its fences name it: "HOST/PID/START/NAMESPACE", START in clock ticks since boot,
// NAMESPACE that of the pid. No other process of this boot has the same.
std::string OwnerName();

// Whether a process of this machine's present boot with this name has certainly ended: the pid is
// gone, a zombie, or another process by now. False for other hosts, boots and pid namespaces (other
// containers): only the platform can tell.
bool HasEnded(const std::string& owner, const std::string& boot_id);

// Whether it has ended if one host runs one process at a time, as Kubernetes promises of a
// StatefulSet's pod: true for another process of this host's name, in whichever boot. False for
// other hosts.
bool WasReplaced(const std::string& owner, const std::string& boot_id);

}  // namespace tidegate::process
