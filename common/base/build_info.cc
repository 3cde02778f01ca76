#include "common/base/build_info.h"

namespace tidegate {

const char* const kVersion = TIDEGATE_VERSION;
const char* const kCommit = TIDEGATE_GIT;
const char* const kBuildType = TIDEGATE_BUILD_TYPE;
const char* const kSanitizers = TIDEGATE_SANITIZERS;

}  // namespace tidegate
