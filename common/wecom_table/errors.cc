#include "common/wecom_table/errors.h"

#include <algorithm>
#include <iterator>

namespace tidegate::wecom_table {
namespace {

// Documented refusals of a create: definite, the same call never works (classes RCPT, REQ, OPS).
constexpr int kDefiniteRefusals[] = {
    40003,  40004,  40005,  40006,  40007,  40008,  40009,  40011,  40013,  40031,  40032,  40033,
    40035,  40039,  40050,  40056,  40058,  40063,  40068,  40070,  40072,  40073,  40091,  40094,
    40096,  40098,  40123,  40127,  40144,  40145,  40201,  40203,  40204,  40206,  41001,  41002,
    41004,  41006,  41008,  41009,  41010,  41011,  41016,  41017,  41018,  41019,  41024,  41033,
    41035,  41036,  41044,  41046,  41047,  41048,  41049,  41050,  41052,  41053,  41054,  41056,
    41057,  41064,  41065,  41072,  41080,  41081,  41082,  41088,  41089,  41090,  41093,  41094,
    41102,  41110,  41111,  41300,  41301,  41302,  41303,  41304,  41305,  44001,  44004,  45001,
    45002,  45007,  45008,  45030,  45031,  45034,  46004,  48001,  48002,  48003,  48004,  48005,
    48006,  48007,  48009,  48010,  48011,  50002,  50003,  50006,  60011,  60021,  60030,  60031,
    60111,  81011,  81013,  82001,  82002,  82003,  82004,  84061,  84074,  84083,  84084,  85002,
    86001,  86003,  86214,  90500,  92000,  301002, 301005, 301007, 301021, 301023, 301039, 301042,
    610004, 610014, 610023, 610024, 701008, 701099};

// Documented refusals that pass: nothing was executed, the same call may work later.
constexpr int kPassingRefusals[] = {6000,  40001, 40014, 41063, 41096, 42001,
                                    45009, 45011, 45033, 45035, 45036, kErrcodeAddressNotTrusted};

template <size_t N>
bool Contains(const int (&codes)[N], int code) {
  return std::find(std::begin(codes), std::end(codes), code) != std::end(codes);
}

AnswerClass ClassifyCreate(const AnswerFacts& facts) {
  if (!facts.answered || !facts.body_parsed || facts.http_status != 200) return AnswerClass::kDoubt;
  if (facts.errcode == 0) return facts.has_result_id ? AnswerClass::kAccepted : AnswerClass::kDoubt;
  if (TIDEGATE_MUTANT == 17 && facts.errcode == -1) return AnswerClass::kNotExecuted;
  if (Contains(kPassingRefusals, facts.errcode)) return AnswerClass::kNotExecuted;
  if (Contains(kDefiniteRefusals, facts.errcode)) return AnswerClass::kRefused;
  return AnswerClass::kDoubt;  // -1, system failures, unknown codes
}

AnswerClass ClassifyDeduplicated(const AnswerFacts& facts, bool in_doubt_before) {
  if (!facts.answered || !facts.body_parsed || facts.http_status != 200) return AnswerClass::kDoubt;
  if (facts.errcode == 0) return AnswerClass::kAccepted;  // of a repeat, too
  if (Contains(kPassingRefusals, facts.errcode)) return AnswerClass::kNotExecuted;
  if (Contains(kDefiniteRefusals, facts.errcode) && !in_doubt_before) return AnswerClass::kRefused;
  return AnswerClass::kDoubt;
}

AnswerClass ClassifyRepeatable(const AnswerFacts& facts) {
  if (!facts.answered || !facts.body_parsed || facts.http_status != 200)
    return AnswerClass::kNotExecuted;
  if (facts.errcode == 0) return AnswerClass::kAccepted;
  return Contains(kDefiniteRefusals, facts.errcode) ? AnswerClass::kRefused
                                                    : AnswerClass::kNotExecuted;
}

}  // namespace

bool IsTokenError(int errcode) { return errcode == 40014 || errcode == 42001 || errcode == 40001; }

AnswerVerdict Classify(const Endpoint& endpoint, const AnswerFacts& facts, bool in_doubt_before) {
  if (!facts.bytes_written) return {AnswerClass::kNotExecuted};
  switch (endpoint.idempotency) {
    case Idempotency::kCreates:
      return {ClassifyCreate(facts)};
    case Idempotency::kBlind: {
      // Its answer names nothing.
      AnswerFacts whole = facts;
      whole.has_result_id = true;
      return {ClassifyCreate(whole)};
    }
    case Idempotency::kDeduplicated:
      return {ClassifyDeduplicated(facts, in_doubt_before)};
    case Idempotency::kSingleUse:
      if (facts.answered && facts.body_parsed && facts.errcode == 41051) {
        return {in_doubt_before ? AnswerClass::kAccepted : AnswerClass::kRefused};
      }
      return {ClassifyRepeatable(facts)};
    case Idempotency::kRead:
    case Idempotency::kRepeatable:
      return {ClassifyRepeatable(facts)};
  }
  return {AnswerClass::kDoubt};
}

}  // namespace tidegate::wecom_table
