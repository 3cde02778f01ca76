#include "services/tidegate/generate/boards.h"

namespace tidegate::generate {

std::vector<Board> AllBoards() {
  return {OverviewBoard(), WecomBoard(), CampaignsBoard(), LogBoard(), ProcessBoard()};
}

}  // namespace tidegate::generate
