#include "common/process/process.h"
#include "services/dispatch/service.h"

int main(int argc, char** argv) {
  return tidegate::process::Main("tidegate-dispatch", {tidegate::dispatch::Spec()}, argc, argv);
}
