#include "common/process/process.h"
#include "services/segmentation/service.h"

int main(int argc, char** argv) {
  return tidegate::process::Main("tidegate-segmentation", {tidegate::segmentation::Spec()}, argc,
                                 argv);
}
