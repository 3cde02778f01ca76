#include "common/process/process.h"
#include "services/ingestion/service.h"

int main(int argc, char** argv) {
  return tidegate::process::Main("tidegate-ingestion", {tidegate::ingestion::Spec()}, argc, argv);
}
