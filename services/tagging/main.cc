#include "common/process/process.h"
#include "services/tagging/service.h"

int main(int argc, char** argv) {
  return tidegate::process::Main("tidegate-tagging", {tidegate::tagging::Spec()}, argc, argv);
}
