/* One journal, two owners, one outbox reader: decide, append, apply, release, and the recovery.
 * README.md beside this file maps it to the code and says what it leaves out.
 *
 *   spin -a journal.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan -m10000
 *
 * Planted changes; each must be violated:
 *   -DRELEASE_BEFORE_READBACK  effects leave when the batch is appended
 *   -DFENCE_IGNORED            a record counts whatever its epoch
 *   -DMARK_BEFORE_ACK          the mark covers what is to be sent, acknowledged or not
 *   -DLOSER_GOES_ON            an owner whose fence was not the first of its epoch appends anyway
 *
 * Every run ends, for all that repeats has a budget. What is checked holds in every state (assert)
 * or when all is quiet (Check).
 */

/* ---- Bounds ----
 * The journal has none of its own: what all have read is kept as a fold, not record by record. */
#ifndef INPUTS
/* The second is decided while something of the first is still on its way. */
#define INPUTS 2
#endif
#ifndef FAULTS
/* Crashes, takeovers from an owner that still runs, append results that are errors, records that land
 * twice; together, in any mixture. Three: a zombie, its stray record, and a crash of its successor. */
#define FAULTS 3
#endif
/* The code below is written for just these two. */
#define BATCH 2  /* records of one append: decision + decision, decision + mark, or one alone */
#define STRAYS 2 /* journal records in flight that no owner waits for; for the target one append */

mtype = { FENCE, DECISION, MARK };
mtype = { FENCING, LIVE };
#define DOWN 0 /* what a state is before anything was written to it */

typedef Record {
  mtype kind;
  byte epoch;
  byte seq;  /* 0 in a fence */
  byte arg;  /* fence: token; decision: the input it covers; mark: the out_seq acknowledged */
}

/* What the journal means up to some record. Each decision has one record for the outbox. */
typedef Fold {
  byte epoch;
  byte token; /* of the first fence of that epoch */
  byte seq;
  byte cover;
  byte out_seq;
  byte mark;
}

typedef OwnerState {
  mtype state;
  byte token; /* new with each start */
  byte epoch;
  Fold fold;
  byte decided;    /* inputs read, those of the batch under way too */
  byte next_seq;
  byte to_release; /* bit i: input i was applied live and waits for the end of its batch */
  Record batch[BATCH];
  byte size;       /* 0: no append under way */
  byte landed;
  byte acked;      /* out_seq that the target acknowledged */
  byte out_next;   /* the append to the target under way: out_next..out_to; 0: none */
  byte out_to;
}

OwnerState owner[2];
Record stray[STRAYS];
byte stray_out_next, stray_out_to;

byte starts;
byte faults; /* used up */

Fold audit; /* of the whole journal: a reader that is never late */
byte taken; /* last out_seq of the outbox reader */
byte counted_epoch[INPUTS + 1];  /* of the record that covers this input and counts */
byte released_epoch[INPUTS + 1]; /* of the record for which an effect left; 0: none left */

#define RUNS(o) (owner[o].state != DOWN)

Record late; /* scratch of one atomic step; all zero outside, so that it adds no states */
hidden Fold nothing;
/* Scratch of one d_step; not part of the state. */
hidden Record head;
hidden byte fence_won;
hidden byte counted;
hidden byte i;

/* ---- The validity rule (journal_filter.cc), and apply ---- */
#ifdef FENCE_IGNORED
#define EPOCH_COUNTS(reader) true
#else
#define EPOCH_COUNTS(reader) (head.epoch == reader.epoch)
#endif

inline Admit(reader) { /* `head` is the record */
  fence_won = head.kind == FENCE && head.epoch > reader.epoch;
  counted = head.kind != FENCE && EPOCH_COUNTS(reader) && head.seq == reader.seq + 1;
  if
  :: fence_won -> reader.epoch = head.epoch; reader.token = head.arg
  :: counted ->
     reader.seq = head.seq;
     if
     :: head.kind == DECISION -> reader.cover = head.arg; reader.out_seq++
     :: else -> reader.mark = (head.arg > reader.mark -> head.arg : reader.mark)
     fi
  :: else
  fi
}

/* ---- Copies; an assignment of whole structures does not exist ---- */
inline CopyFold(from, to) {
  to.epoch = from.epoch; to.token = from.token; to.seq = from.seq;
  to.cover = from.cover; to.out_seq = from.out_seq; to.mark = from.mark
}

inline CopyRecord(from, to) {
  to.kind = from.kind; to.epoch = from.epoch; to.seq = from.seq; to.arg = from.arg
}

inline ClearRecord(record) {
  record.kind = 0; record.epoch = 0; record.seq = 0; record.arg = 0
}

/* ---- The log: what lands where ---- */
inline AddStray(record) {
  if
  :: stray[0].kind == 0 -> CopyRecord(record, stray[0])
  :: else -> CopyRecord(record, stray[1])
  fi
}

/* A fence in the journal ends owner `o`, read or not yet. */
#ifdef LOSER_GOES_ON
#define SUPERSEDED(o) (audit.epoch > owner[o].epoch)
#else
#define SUPERSEDED(o) (audit.epoch > owner[o].epoch || \
                       (audit.epoch == owner[o].epoch && audit.token != owner[o].token))
#endif

/* An owner reads at once what lands, up to the fence that ends it: to read late is to act late, and
 * it may be late with all that it does. That fence it reads when it likes; nothing behind it. */
inline ReadBack(o) {
  if
  :: RUNS(o) && !SUPERSEDED(o) ->
     Admit(owner[o].fold);
     if
     :: counted && head.kind == DECISION && owner[o].state == LIVE && head.epoch == owner[o].epoch ->
        owner[o].to_release = owner[o].to_release | (1 << head.arg)
     :: else
     fi
  :: else
  fi
}

/* A record becomes durable; once more later, perhaps. */
inline Land(record) {
  d_step {
    CopyRecord(record, head);
    Admit(audit);
    if
    :: counted && head.kind == DECISION ->
       /* No input is lost, none counts twice. */
       assert(counted_epoch[head.arg] == 0 && (head.arg == 1 || counted_epoch[head.arg - 1] != 0));
       counted_epoch[head.arg] = head.epoch
    :: else
    fi;
    ReadBack(0);
    ReadBack(1)
  }
  if
  :: faults < FAULTS && stray[STRAYS - 1].kind == 0 ->
     d_step { faults++; AddStray(record) }
  :: true
  fi
}

inline LandStray(n) {
  d_step {
    CopyRecord(stray[n], late);
    if
    :: n == 0 -> CopyRecord(stray[1], stray[0])
    :: else
    fi;
    ClearRecord(stray[1])
  }
  Land(late);
  d_step { ClearRecord(late) }
}

/* The same in the target topic. Its one reader takes only the next out_seq. */
inline LandOut(n) {
  d_step {
    assert(n <= taken + 1);         /* a gap: something is lost */
    assert(n <= audit.out_seq);     /* what does not count is heard by nobody */
    taken = (n > taken -> n : taken)
  }
  if
  :: faults < FAULTS && stray_out_to == 0 ->
     d_step { faults++; stray_out_next = n; stray_out_to = n }
  :: true
  fi
}

inline LandStrayOut() {
  d_step {
    i = stray_out_next;
    stray_out_next++;
    if
    :: stray_out_next > stray_out_to -> stray_out_next = 0; stray_out_to = 0
    :: else
    fi;
    late.arg = i
  }
  LandOut(late.arg);
  late.arg = 0
}

/* Nobody waits any more for what owner `o` appended: each record is lost or lands some day, alone and
 * in any order, which is more than the log may do to it. */
inline ForgetAppend(o) {
  do
  :: owner[o].landed < owner[o].size ->
     if
     :: stray[STRAYS - 1].kind == 0 -> d_step { AddStray(owner[o].batch[owner[o].landed]) }
     :: true
     fi;
     owner[o].landed++
  :: else -> break
  od;
  skip; /* a d_step must not be jumped into */
  d_step { ClearBatch(o) }
}

inline ClearBatch(o) {
  ClearRecord(owner[o].batch[0]);
  ClearRecord(owner[o].batch[1]);
  owner[o].size = 0; owner[o].landed = 0
}

/* The target gets a prefix of an append, as the log promises: a later part alone would be a gap. */
inline ForgetOut(o) {
  if
  :: owner[o].out_to != 0 && stray_out_to == 0 ->
     d_step { stray_out_next = owner[o].out_next; stray_out_to = owner[o].out_to }
  :: true
  fi;
  skip; /* a d_step must not be jumped into */
  d_step { owner[o].out_next = 0; owner[o].out_to = 0 }
}

/* ---- The owner (partition_runner.cc, outbox.cc) ---- */
/* The process ends: by a crash, or because it read a newer fence. */
inline End(o) {
  ForgetOut(o);
  d_step {
    ClearBatch(o);
    owner[o].state = DOWN;
    owner[o].token = 0; owner[o].epoch = 0; owner[o].decided = 0; owner[o].next_seq = 0;
    owner[o].to_release = 0; owner[o].acked = 0;
    CopyFold(nothing, owner[o].fold)
  }
}

inline AppendFence(o) {
  owner[o].state = FENCING;
  owner[o].epoch = owner[o].fold.epoch + 1;
  owner[o].to_release = 0;
  owner[o].batch[0].kind = FENCE;
  owner[o].batch[0].epoch = owner[o].epoch;
  owner[o].batch[0].arg = owner[o].token;
  owner[o].size = 1
}

/* Reads all of the journal, which gives what the auditor has, for the rule is one pure function. */
inline Start(o) {
  starts++;
  owner[o].token = starts;
  CopyFold(audit, owner[o].fold);
  AppendFence(o)
}

inline BecomeLive(o) {
#ifndef LOSER_GOES_ON
  assert(owner[o].fold.epoch == owner[o].epoch && owner[o].fold.token == owner[o].token);
#endif
  owner[o].state = LIVE;
  owner[o].decided = owner[o].fold.cover;
  owner[o].next_seq = owner[o].fold.seq + 1;
  /* Sends again from the mark on. */
  owner[o].acked = (owner[o].fold.mark > owner[o].acked -> owner[o].fold.mark : owner[o].acked);
  ClearBatch(o)
}

inline AddRecord(o, record_kind, record_arg) {
  owner[o].batch[owner[o].size].kind = record_kind;
  owner[o].batch[owner[o].size].epoch = owner[o].epoch;
  owner[o].batch[owner[o].size].seq = owner[o].next_seq;
  owner[o].batch[owner[o].size].arg = record_arg;
  owner[o].size++;
  owner[o].next_seq++
}

inline Decide(o) {
  d_step {
    owner[o].decided++;
    AddRecord(o, DECISION, owner[o].decided);
#ifdef RELEASE_BEFORE_READBACK
    Effect(owner[o].decided, owner[o].epoch)
#endif
  }
}

inline Effect(input, epoch_of_record) {
  assert(released_epoch[input] == 0); /* one effect per decision */
  released_epoch[input] = epoch_of_record
}

#ifdef MARK_BEFORE_ACK
#define MARKABLE(o) owner[o].fold.out_seq
#else
#define MARKABLE(o) owner[o].acked
#endif

#define MARK_DUE(o) (MARKABLE(o) > owner[o].fold.mark)

inline Release(o) {
  i = 1;
  do
  :: i <= INPUTS ->
     if
     :: owner[o].to_release & (1 << i) ->
#ifndef RELEASE_BEFORE_READBACK
        Effect(i, owner[o].epoch)
#endif
     :: else
     fi;
     i++
  :: else -> break
  od;
  owner[o].to_release = 0;
  ClearBatch(o)
}

/* The owner may hear of it at once: to hear later is to be slow with all that follows. */
inline Acknowledge(o) {
  owner[o].out_next++;
  if
  :: owner[o].out_next > owner[o].out_to ->
     owner[o].acked = owner[o].out_to;
     owner[o].out_next = 0; owner[o].out_to = 0
  :: else
  fi
}

#define IN_FLIGHT(o) (owner[o].landed < owner[o].size)
#define READ_BACK(o) (!IN_FLIGHT(o) && !SUPERSEDED(o) && \
                      owner[o].fold.seq >= owner[o].batch[owner[o].size - 1].seq)

/* Each option is one step that others see; an owner may sleep before any, for as long as it likes. */
active [2] proctype Owner() {
end:
  do
  /* The supervisor. When nobody runs it does not matter which of the two starts. */
  :: atomic { _pid == 0 && !RUNS(0) && !RUNS(1) -> d_step { Start(0) } }
  :: atomic { !RUNS(_pid) && RUNS(1 - _pid) && faults < FAULTS ->
       d_step { faults++; Start(_pid) } }
  :: atomic { RUNS(_pid) && faults < FAULTS -> faults++; ForgetAppend(_pid); End(_pid) }

  /* It reads the newer fence. */
  :: atomic { RUNS(_pid) && SUPERSEDED(_pid) -> ForgetAppend(_pid); End(_pid) }

  /* The journal's append: lands record by record. Its result is OK, or an error at any time. */
  :: atomic { IN_FLIGHT(_pid) ->
       Land(owner[_pid].batch[owner[_pid].landed]);
       owner[_pid].landed++;
       if
       :: !READ_BACK(_pid) /* more to land, or a newer fence came before it */
       :: READ_BACK(_pid) && owner[_pid].state == FENCING -> d_step { BecomeLive(_pid) }
       :: READ_BACK(_pid) && owner[_pid].state == LIVE -> d_step { Release(_pid) }
       :: READ_BACK(_pid) && faults < FAULTS -> /* all landed, and yet the result is an error */
          d_step { faults++; ClearBatch(_pid); AppendFence(_pid) }
       fi }
  :: atomic { IN_FLIGHT(_pid) && !SUPERSEDED(_pid) && faults < FAULTS ->
       faults++; ForgetAppend(_pid); d_step { AppendFence(_pid) } }

  /* Live. */
  :: atomic { owner[_pid].state == LIVE && owner[_pid].size == 0 &&
              (owner[_pid].decided < INPUTS || MARK_DUE(_pid)) ->
       if
       :: owner[_pid].decided < INPUTS ->
          Decide(_pid);
          if
          :: owner[_pid].decided < INPUTS -> Decide(_pid)
          :: MARK_DUE(_pid) -> d_step { AddRecord(_pid, MARK, MARKABLE(_pid)) }
          :: true
          fi
       :: MARK_DUE(_pid) -> d_step { AddRecord(_pid, MARK, MARKABLE(_pid)) }
       fi }

  /* The outbox: one append to the target at a time. */
  :: atomic { owner[_pid].state == LIVE && owner[_pid].out_to == 0 &&
              owner[_pid].acked < owner[_pid].fold.out_seq ->
       d_step { owner[_pid].out_next = owner[_pid].acked + 1;
                owner[_pid].out_to = owner[_pid].fold.out_seq } }
  :: atomic { owner[_pid].out_to != 0 ->
       LandOut(owner[_pid].out_next); d_step { Acknowledge(_pid) } }
  :: atomic { owner[_pid].state == LIVE && owner[_pid].out_to != 0 && faults < FAULTS ->
       faults++; ForgetOut(_pid) }
  od
}

/* When nothing more can happen, one owner runs and all that had to be done is done. */
inline CheckQuiet() {
  i = (owner[0].state == LIVE -> 0 : 1);
  assert(owner[i].state == LIVE);
#ifndef LOSER_GOES_ON /* by itself this is no harm: the change must lead to some */
  assert(owner[1 - i].state == DOWN);
  assert(owner[i].epoch == audit.epoch && owner[i].token == audit.token);
#endif
  /* Two readers agree. */
  assert(owner[i].fold.epoch == audit.epoch && owner[i].fold.token == audit.token);
  assert(owner[i].fold.seq == audit.seq && owner[i].fold.cover == audit.cover);
  assert(owner[i].fold.out_seq == audit.out_seq && owner[i].fold.mark == audit.mark);
  /* No input is lost; each has one record, and the outbox reader has the output of each. */
  assert(audit.cover == INPUTS && audit.out_seq == INPUTS);
  assert(taken == INPUTS);
  assert(audit.mark == INPUTS);
  /* What was released counts. */
  i = 1;
  do
  :: i <= INPUTS ->
     assert(counted_epoch[i] != 0);
     assert(released_epoch[i] == 0 || released_epoch[i] == counted_epoch[i]);
     i++
  :: else -> break
  od
}

/* Records in flight that nobody waits for land at any time, the journal's in any order. */
active proctype Strays() {
end:
  do
  :: atomic { stray[0].kind != 0 -> LandStray(0) }
  :: atomic { stray[1].kind != 0 -> LandStray(1) }
  :: atomic { stray_out_to != 0 -> LandStrayOut() }
  od
}

active proctype Check() {
  timeout;
  d_step { CheckQuiet() }
}
