#include "services/tidegate/serve.h"

#include <cstdio>

#include "common/base/status_macros.h"
#include "common/process/process.h"
#include "services/dispatch/service.h"
#include "services/ingestion/service.h"
#include "services/segmentation/service.h"
#include "services/tagging/service.h"

namespace tidegate {

absl::Status RunServe(const ServeOptions& options) {
  ASSIGN_OR_RETURN(const config::Settings settings,
                   process::SettingsOf(options.config_file, options.set, options.named));
  if (options.check_config) {
    std::fputs("the settings are good\n", stderr);
    return absl::OkStatus();
  }
  // Started in this order, drained in it, stopped in reverse.
  return process::Run("tidegate", settings,
                      {ingestion::Spec(), tagging::Spec(), segmentation::Spec(), dispatch::Spec()});
}

}  // namespace tidegate
