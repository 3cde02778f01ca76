// What an answer of WeCom means for the call (reliability 3.1 and 3.4). Only errcode decides;
// errmsg may change at any time.
#pragma once

#include <cstdint>

#include "common/wecom_table/endpoints.h"

namespace tidegate::wecom_table {

inline constexpr int kErrcodeRateLimited = 45009;
inline constexpr int kErrcodeTooManyAtOnce = 45033;
inline constexpr int kErrcodeTooManyReminders = 41094;
inline constexpr int kErrcodeBadCursor = 50100;
inline constexpr int kErrcodeAlreadyCancelled = 41093;
// The address that the call came from is not among those that the corp's admin has entered.
inline constexpr int kErrcodeAddressNotTrusted = 60020;

enum class AnswerClass {
  kAccepted,     // WeCom did it
  kRefused,      // WeCom refused it for good
  kNotExecuted,  // it did not happen, or may be repeated without harm: try again
  kDoubt,        // it may have happened; of D it may be repeated byte by byte, else not at all
};

// What was seen of one call.
struct AnswerFacts {
  bool bytes_written = false;  // a request byte left
  bool answered = false;       // a whole HTTP answer came
  bool body_parsed = false;
  int http_status = 0;
  int errcode = 0;
  bool has_result_id = false;  // msgid of a create
};

struct AnswerVerdict {
  AnswerClass answer_class;
};

// `in_doubt_before`: an earlier attempt of ours may have used up the single-use code (U), or have
// been executed (D): then only an acceptance ends the doubt.
AnswerVerdict Classify(const Endpoint& endpoint, const AnswerFacts& facts, bool in_doubt_before);

// 40014, 42001, 40001: the token is to be fetched anew; the call was not executed.
bool IsTokenError(int errcode);

}  // namespace tidegate::wecom_table
