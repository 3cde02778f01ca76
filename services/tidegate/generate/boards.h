// All boards that Tidegate ships, in the order of their links. Each is one table in a file of its
// own; metric names are those of common/metrics/names.h. Pure; any thread.
#pragma once

#include <vector>

#include "services/tidegate/generate/board.h"

namespace tidegate::generate {

// The way of a message: callbacks, ingestion, tagging, segmentation, dispatch, WeCom.
Board OverviewBoard();
// Token buckets, lockouts, WeCom's answers, doubts.
Board WecomBoard();
Board CampaignsBoard();
// Appends, Kafka, journals, outboxes.
Board LogBoard();
// gRPC, and what the process uses.
Board ProcessBoard();

std::vector<Board> AllBoards();

}  // namespace tidegate::generate
