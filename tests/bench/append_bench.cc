// How fast the logs take appends, beside the bare libraries below them: the same records, batches
// and number of appends at a time, all in one run, in rounds that alternate, so that noise hits all
// alike. A row whose median ratio is near the floor, above or below, gets twice as many rounds
// more, and every round counts. Prints one JSON object. Used by log_bench.py.
//
//   append_bench --dir /tmp/empty                                       # the embedded log alone
//   append_bench --dir /tmp/empty --kafka 127.0.0.1:9092 --rounds 7     # a broker with empty
//   topics

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "boost/json.hpp"
#include "common/log/embedded_log.h"
#include "common/log/kafka_log.h"
#include "tests/bench/appenders.h"
#include "tests/bench/spread.h"

namespace tidegate::bench {
namespace {

namespace json = boost::json;

// A ratio so little above the floor is measured more often, as one below it is.
constexpr double kUnsure = 0.1;

struct Options {
  std::string directory;
  std::string kafka;
  int rounds = 17;
  double seconds = 0.1;
  double floor = 0.7;
  size_t outstanding = 64;
  std::string row;
  uint64_t seed = 1;
};

double PercentileMs(const std::vector<int64_t>& sorted, size_t share) {
  if (sorted.empty()) return 0;
  const size_t rank = (sorted.size() * share + 99) / 100;  // nearest rank
  return static_cast<double>(sorted[std::max<size_t>(rank, 1) - 1]) / 1e6;
}

// Of all threads of this process.
double CpuUs() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) * 1e6 + static_cast<double>(used.tv_nsec) / 1e3;
}

// One appender under one load, round by round.
class Series {
 public:
  Series(Appender* appender, Load load) : appender_(appender), load_(load) {}

  void Round() {
    const double cpu_before_us = CpuUs();
    Figures figures = appender_->Run(load_);
    cpu_us_.push_back((CpuUs() - cpu_before_us) / static_cast<double>(figures.records));
    std::sort(figures.latencies_ns.begin(), figures.latencies_ns.end());
    records_s_.push_back(static_cast<double>(figures.records) / figures.seconds);
    p50_ms_.push_back(PercentileMs(figures.latencies_ns, 50));
    p99_ms_.push_back(PercentileMs(figures.latencies_ns, 99));
  }

  const std::vector<double>& records_s() const { return records_s_; }
  json::object ToJson() const {
    return {{"records_s", Spread(records_s_)},
            {"p50_ms", Spread(p50_ms_)},
            {"p99_ms", Spread(p99_ms_)},
            {"cpu_us", Spread(cpu_us_)}};
  }

 private:
  Appender* const appender_;
  const Load load_;
  std::vector<double> records_s_, p50_ms_, p99_ms_, cpu_us_;
};

// A log of ours and what is bare below it.
struct Contestant {
  std::string log;
  std::string bare_name;
  std::unique_ptr<Appender> ours, bare, read_back;
};

struct Row {
  const Contestant* contestant;
  Load load;
  Series ours, bare;
  // Of the closed loop only.
  std::unique_ptr<Series> read_back;

  // Neither always goes first.
  void Round() {
    const bool ours_first = ours.records_s().size() % 2 == 0;
    if (ours_first) ours.Round();
    bare.Round();
    if (!ours_first) ours.Round();
    if (read_back != nullptr) read_back->Round();
  }

  json::object Ratio() const {
    std::vector<double> ratios;
    for (size_t i = 0; i < ours.records_s().size(); ++i) {
      ratios.push_back(ours.records_s()[i] / bare.records_s()[i]);
    }
    return Spread(ratios);
  }

  json::object ToJson() const {
    json::object row{
        {"log", contestant->log}, {"batch", load.batch}, {"outstanding", load.outstanding}};
    for (auto& [name, value] : ours.ToJson()) row[name] = value;
    if (read_back != nullptr) {
      const json::object back = read_back->ToJson();
      row["readback_p50_ms"] = back.at("p50_ms");
      row["readback_p99_ms"] = back.at("p99_ms");
    }
    json::object below = bare.ToJson();
    below["name"] = contestant->bare_name;
    row["bare"] = std::move(below);
    row["ratio"] = Ratio();
    row["rounds"] = ours.records_s().size();
    return row;
  }
};

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "append_bench: %s\n", value.status().ToString().c_str());
  std::exit(1);
}

int Run(const Options& options) {
  SampleRecords records(options.seed);
  std::vector<std::unique_ptr<log::Log>> logs;
  std::vector<Contestant> contestants;

  std::filesystem::create_directories(options.directory);
  logs.push_back(Must(log::EmbeddedLog::Open(options.directory)));
  contestants.push_back({"embedded", "RocksDB WriteBatch, sync",
                         ForLog(logs.back().get(), {log::Topic::kEvents, 0}, &records),
                         ForRocksDb(options.directory + "/bare", &records),
                         ForReadBack(logs.back().get(), {log::Topic::kProfiles, 0}, &records)});

  std::unique_ptr<Appender> transactional;
  if (!options.kafka.empty()) {
    log::KafkaOptions kafka;
    kafka.bootstrap_servers = options.kafka;
    kafka.topic_prefix = "bench.";
    kafka.partitions = 1;
    kafka.lanes = 1;
    kafka.replication = 1;
    kafka.min_insync_replicas = 1;
    logs.push_back(Must(log::KafkaLog::Open(kafka)));
    contestants.push_back({"kafka", "librdkafka, idempotent, acks=all, linger 0, lz4",
                           ForLog(logs.back().get(), {log::Topic::kEvents, 0}, &records),
                           ForKafka(kafka, "bench.memberships", false, &records),
                           ForReadBack(logs.back().get(), {log::Topic::kProfiles, 0}, &records)});
    transactional = ForKafka(kafka, "bench.dead-letters", true, &records);
  }

  std::vector<Row> rows;
  for (const Contestant& each : contestants) {
    for (const size_t batch : {size_t{1}, size_t{10}, size_t{100}}) {
      for (const size_t outstanding : {size_t{1}, options.outstanding}) {
        const Load load{batch, outstanding, options.seconds};
        const std::string name = absl::StrCat(each.log, ":", batch, ":", outstanding);
        if (!options.row.empty() && options.row != name) continue;
        rows.push_back(
            {&each, load, Series(each.ours.get(), load), Series(each.bare.get(), load),
             outstanding == 1 ? std::make_unique<Series>(each.read_back.get(), load) : nullptr});
      }
    }
  }
  const Load transaction{100, 1, options.seconds};
  Series transactions(transactional.get(), transaction);

  // The first touch of files, topics and pages is nobody's figure.
  for (const Contestant& each : contestants) {
    for (Appender* appender : {each.ours.get(), each.bare.get(), each.read_back.get()}) {
      appender->Run({100, 1, 0.1});
      appender->Run({1, 1, 0.1});
    }
  }
  if (transactional != nullptr) transactional->Run({100, 1, 0.1});

  for (int round = 0; round < options.rounds; ++round) {
    for (Row& row : rows) row.Round();
    if (transactional != nullptr) transactions.Round();
  }
  std::vector<Row*> unsure;  // chosen once, so that no row can stop when it looks well
  for (Row& row : rows) {
    if (row.Ratio().at("median").as_double() < options.floor + kUnsure) unsure.push_back(&row);
  }
  for (int round = 0; round < 2 * options.rounds; ++round) {
    for (Row* row : unsure) row->Round();
  }

  json::array all;
  for (const Row& row : rows) all.push_back(row.ToJson());
  json::object result{{"append", std::move(all)}};
  if (transactional != nullptr) {
    json::object row = transactions.ToJson();
    row["batch"] = transaction.batch;
    result["transactional"] = std::move(row);
  }
  std::cout << result << std::endl;
  return 0;
}

}  // namespace
}  // namespace tidegate::bench

int main(int argc, char** argv) {
  tidegate::bench::Options options;
  CLI::App app("Measures appends; log_bench.py runs it");
  app.add_option("--dir", options.directory, "an empty folder for the embedded logs")->required();
  app.add_option("--kafka", options.kafka, "bootstrap servers; absent = no Kafka rows");
  app.add_option("--rounds", options.rounds, "how often each figure is measured")
      ->check(CLI::Range(1, 1000));
  app.add_option("--seconds", options.seconds, "of each measurement")->check(CLI::PositiveNumber);
  app.add_option("--floor", options.floor, "ratio of ours to bare that every row should have");
  app.add_option("--outstanding", options.outstanding, "appends at a time of the second mode")
      ->check(CLI::Range(2, 1000));
  app.add_option("--row", options.row, "only LOG:BATCH:OUTSTANDING, as in kafka:1:64");
  app.add_option("--seed", options.seed, "of the records");
  CLI11_PARSE(app, argc, argv);
  return tidegate::bench::Run(options);
}
