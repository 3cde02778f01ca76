#include "services/tidegate/client/import_customers.h"

#include <cstdint>
#include <istream>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "services/tidegate/client/csv.h"
#include "services/tidegate/client/csv_header.h"
#include "services/tidegate/client/import_report.h"
#include "services/tidegate/client/publisher.h"
#include "tidegate/ingestion/v1/ingestion_service.pb.h"

namespace tidegate::client {
namespace {

using tidegate::ingestion::v1::PublishedEvent;

constexpr size_t kIdBytesMax = 64;
constexpr size_t kEventIdBytesMax = 128;

const std::vector<std::string>& Columns() {
  static const auto* const columns = new std::vector<std::string>{"external_userid", "owner"};
  return *columns;
}

// Each record after the header, good or bad, in turn.
class CustomerFile {
 public:
  static absl::StatusOr<std::unique_ptr<CustomerFile>> Open(const std::string& path) {
    ASSIGN_OR_RETURN(std::unique_ptr<std::istream> in, OpenTextFile(path));
    auto file = std::unique_ptr<CustomerFile>(new CustomerFile(std::move(in)));
    absl::StatusOr<CsvHeader> header = CsvHeader::Read(&file->csv_, Columns());
    if (!header.ok()) {
      return absl::Status(header.status().code(),
                          absl::StrCat(path, ": ", header.status().message()));
    }
    file->header_ = *std::move(header);
    return file;
  }

  // False at the end. INVALID_ARGUMENT: *field and the message tell what is wrong with this row.
  absl::StatusOr<bool> Next(std::string* customer, std::string* owner, std::string* field) {
    *field = "row";
    ASSIGN_OR_RETURN(const bool more, csv_.Next(&fields_));
    if (!more) return false;
    if (const std::string fault = header_.CheckWidth(fields_); !fault.empty()) {
      return absl::InvalidArgumentError(fault);
    }
    for (size_t column = 0; column < Columns().size(); ++column) {
      *field = Columns()[column];
      RETURN_IF_ERROR(CheckId(header_.Field(fields_, column), kIdBytesMax));
    }
    *customer = header_.Field(fields_, 0);
    *owner = header_.Field(fields_, 1);
    return true;
  }

 private:
  explicit CustomerFile(std::unique_ptr<std::istream> in) : in_(std::move(in)), csv_(in_.get()) {}

  const std::unique_ptr<std::istream> in_;
  CsvReader csv_;
  CsvHeader header_;
  std::vector<std::string> fields_;
};

absl::StatusOr<int64_t> CountRows(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CustomerFile> file, CustomerFile::Open(path));
  std::string customer, owner, field;
  for (int64_t rows = 0;; ++rows) {
    const absl::StatusOr<bool> more = file->Next(&customer, &owner, &field);
    if (absl::IsInvalidArgument(more.status())) continue;
    RETURN_IF_ERROR(more.status());
    if (!*more) return rows;
  }
}

PublishedEvent ToEvent(const std::string& customer, const std::string& owner, int64_t time_ns) {
  PublishedEvent event;
  event.set_event_id(absl::StrCat("customer:", customer, ":", owner));
  // The longest ids do not fit; their hash names the pair as well.
  if (event.event_id().size() > kEventIdBytesMax) {
    event.set_event_id(absl::StrCat("customer:", Sha256Hex(absl::StrCat(customer, ":", owner))));
  }
  event.set_customer(customer);
  event.mutable_event_time()->set_seconds(time_ns / kNanosPerSecond);
  event.mutable_event_time()->set_nanos(static_cast<int32_t>(time_ns % kNanosPerSecond));
  event.mutable_customer_imported()->set_owner(owner);
  return event;
}

}  // namespace

absl::Status ImportCustomers(const Client& client, const ImportCustomersOptions& options) {
  const int64_t now_ns = client.clock->Read().wall_ns;
  ASSIGN_OR_RETURN(const int64_t total_rows, CountRows(options.file));
  ASSIGN_OR_RETURN(const std::unique_ptr<CustomerFile> file, CustomerFile::Open(options.file));
  ImportReport report(client, total_rows);
  PublisherOptions publisher_options;
  publisher_options.corp = options.corp;
  publisher_options.source = options.source;
  Publisher publisher(client.connection, client.log, publisher_options,
                      [&](int64_t row, const std::string& field, const std::string& message) {
                        report.AddError(row, field, message);
                      });
  absl::Status read_status;
  std::string customer, owner, field;
  for (int64_t row = 1;; ++row) {
    const absl::StatusOr<bool> more = file->Next(&customer, &owner, &field);
    if (absl::IsInvalidArgument(more.status())) {
      report.CountRow();
      report.AddError(row, field, std::string(more.status().message()));
      continue;
    }
    read_status = more.status();
    if (!more.ok() || !*more) break;
    report.CountRow();
    if (!publisher.Add(row, ToEvent(customer, owner, now_ns))) break;
    report.ShowProgress(publisher.published());
  }
  absl::Status ended_by = publisher.Finish();
  ended_by.Update(read_status);
  return report.Finish(publisher.published(), ended_by);
}

}  // namespace tidegate::client
