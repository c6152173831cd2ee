import type { AgentCondition, Condition } from '#fleet/agent-condition.ts'
import type { AuditEntry, AuditedAct } from '#fleet/audit.ts'
import type { AuditHead } from '#fleet/audit-head.ts'
import type { Beat, ObservedBeats } from '#fleet/beat.ts'
import type { Conversation, NewConversation, OpenedConversation } from '#fleet/conversation.ts'
import type { Alert, Incident, NewIncident } from '#fleet/incident.ts'
import type { Mark, Message, MessageDraft, StoredMessage, WaitingMessage } from '#fleet/message.ts'
import type { LeasedMessage, LeaseNote, MessageStatus } from '#fleet/message-leases.ts'
import type { Addressee, FleetAgent } from '#fleet/peer-messages.ts'
import type { NewReservation, Reservation, ReservationChoice, UncheckedCommit } from '#fleet/reservation.ts'
import type { LastStatus, SaidStatus } from '#fleet/said-status.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { StoreTrouble } from '#fleet/store-trouble.ts'
import type { StoreWarning } from '#fleet/store-warning.ts'
import type { Move, NewTask, Report, Task, TaskEnding, TaskState } from '#fleet/task.ts'
import type { AgentVerdict } from '#fleet/verdict.ts'
import type { Admission, JoinOutcome, JoinRequest, NewInvitation, Worker } from '#fleet/worker.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'

/**
 * Where the fleet is kept: in memory, in SQLite, or behind a distant bridge; only the URL says which.
 *
 * Every verb is whole: it happens or it does not, with its comparison inside and all that must be atomic with it
 * (its audit entry, the messages it sends, the incident it opens). Answered means committed with full durability.
 * Plain data goes in and out. Each verb throws `S2Error`; any may throw `unavailable` (it did not happen) or
 * `unknown_outcome` (it may have: ask again, every verb that writes can be asked twice without doing twice).
 *
 * A store does not judge who may call: the bridge does, before it calls. One contract suite runs on every backend.
 */
export interface Store extends AsyncDisposable {
  // Conversations

  /** Opens a channel. The answer is the only one that ever carries its tokens. */
  openConversation(wanted: NewConversation): Promise<OpenedConversation>
  /** The live conversations, by age, those of foreign writers included. */
  conversations(): Promise<Conversation[]>
  /** Moves the end to now + lifetimeMs, never nearer. `not_found`, or `expired` when it has ended already. */
  renewConversation(id: string, lifetimeMs: number): Promise<Conversation>
  /** Ends it now: its tokens count no more. Ending twice is ending once. */
  endConversation(id: string): Promise<void>
  /**
   * The tokens in force for a session of a live conversation, newest first, to verify signatures with: one, or two while
   * a rotation's overlap lasts. `not_found`, `expired`.
   */
  tokens(session: SessionId): Promise<readonly string[]>
  /** Gives a session a new token and answers it; the one before counts for overlapMs more, older ones end now. */
  rotateToken(session: SessionId, overlapMs: number): Promise<string>
  /**
   * Tells the workers of these conversations to look for new credentials now. This is only a hint: it reaches the hosts that
   * are linked at this moment, nothing is kept, and hosts that miss it ask at their next poll.
   */
  hintCredentials(conversations: readonly string[]): Promise<void>
  /**
   * The conversations that are hinted at from now on, in batches; at a distant store only those whose worker is on this host.
   * Ends when `signal` aborts.
   */
  credentialHints(signal: AbortSignal): AsyncIterable<readonly string[]>

  // Workers

  /** The workers that were ever invited or admitted, by name. */
  workers(): Promise<Worker[]>
  /**
   * Lets the holder of a secret join as this worker, once. Inviting a known worker lets a new host take its place. With a
   * conversation the worker takes its end b, whose tokens become new when it joins; the agent of end a keeps its own for good.
   * `not_found` and `expired` where there is no such conversation, `conflict` where it or the worker is taken.
   */
  inviteWorker(invitation: NewInvitation): Promise<Worker>
  /**
   * Makes a host a worker: by an invitation, or by the word of the orchestrator's host. A known worker keeps its conversation,
   * and a new host's key makes all its tokens new. The same key twice is one admission. `forbidden`, `expired`, `conflict`.
   */
  admitWorker(admission: Admission): Promise<Worker>
  /**
   * Gives both ends of a worker's conversation new tokens, and it a new serial; the tokens before count for overlapMs more. A
   * conversation that had ended is alive again, and its old tokens count no more. The end of another bridge's agent keeps its
   * token. `conflict` where it has not joined or was revoked.
   */
  issueTokens(agent: string, overlapMs: number, lifetimeMs: number): Promise<Worker>
  /**
   * Ends a worker's conversation and its credential at once. One that has not joined has no conversation yet, and ends none.
   * Revoking twice is revoking once.
   */
  revokeWorker(agent: string): Promise<Worker>
  renameWorker(agent: string, changes: { readonly agent?: string; readonly role?: string }): Promise<Worker>
  /** Keeps the sealed credential that was published for a worker, for hosts that reach the bridge and no git remote. */
  notePublished(agent: string, serial: number, file: string): Promise<void>
  /** The sealed credential of the worker with this public key; null where there is none. Anybody may ask. */
  publishedCredential(key: string): Promise<string | null>
  /**
   * The host of this session refuses the credential that is published for it, and why; null: it does so no more. A session of
   * no worker changes nothing.
   */
  noteRefusal(session: SessionId, why: string | null): Promise<void>
  /** A session has the token with this hash in force: if it is the newest, the one before ends. */
  confirmToken(session: SessionId, tokenHash: string): Promise<void>
  /** Keeps a sealed request to join, and answers its id. Anybody may ask; the oldest go when there are too many. */
  submitJoin(sealed: string): Promise<string>
  /** What became of a request to join. Anybody may ask. */
  joinOutcome(id: string): Promise<JoinOutcome>
  /** The requests to join that wait. */
  joinRequests(): Promise<JoinRequest[]>
  settleJoin(id: string, state: 'admitted' | 'refused', why: string | null): Promise<void>

  // Messages

  /**
   * Sends to the partner. One key of one sender is one message, for as long as the conversation lives: the same key with the
   * same draft answers the first message again, with another draft `conflict`. Once it has ended nothing new is sent, whatever
   * the key. Keys have 1 to 200 characters.
   */
  send(from: SessionId, key: string, draft: MessageDraft): Promise<Message>
  /**
   * Sends to another agent of the fleet, or to every other one of a role: all these messages are made, or none. Each lies in its
   * reader's conversation, and names its writer as `sender` where that is not the other end of it. Keys count as those of `send`
   * do. `not_found` where nobody is meant; a message about a task is `forbidden` among workers.
   */
  post(from: SessionId, to: Addressee, key: string, draft: MessageDraft): Promise<Message[]>
  /** The agents of live conversations. Over the network a worker sees those that it may write to, and itself. */
  listAgents(): Promise<FleetAgent[]>
  /** Messages to `reader` that are not acked, oldest first, with id > after: at most `limit`, and of bounded length together (`isLastPage`). */
  unacked(reader: SessionId, after: number, limit: number): Promise<StoredMessage[]>
  /** The same without what they say, which costs little however long they are: at most `limit`; fewer are the last ones. */
  waiting(reader: SessionId, after: number, limit: number): Promise<WaitingMessage[]>
  /**
   * Hands out the oldest messages to `reader` that nobody has in hand, for `leaseMs` each: those that are new, and those whose
   * taker let its lease run out. `by` names who takes them. A message that was handed out `LEASES_MAX` times and never acked is a
   * dead letter, and not among them. What lies in a host's inbox in the agent's hand is that host's to hand out again. At most
   * `limit`, and of bounded length together.
   */
  leaseMessages(reader: SessionId, by: string, limit: number, leaseMs: number): Promise<LeasedMessage[]>
  /** A host has handed messages of its inbox to the reader's agent. An older note changes nothing. */
  noteLeases(reader: SessionId, notes: readonly LeaseNote[]): Promise<void>
  /** How far a message has come. `not_found`; over the network also to all but its sender and its reader. */
  messageStatus(id: number): Promise<MessageStatus>
  /**
   * Makes dead letters of messages that their reader could not take: nobody gets them any more, their senders are told by a message,
   * and people by one incident for each reader. What is acked, or dead already, stays so.
   */
  giveUpMessages(reader: SessionId, ids: readonly number[], why: string): Promise<void>
  /** The dead letters that nobody decided on, oldest first. Over the network a session sees those that it sent or was to read. */
  deadLetters(): Promise<MessageStatus[]>
  /**
   * Sends dead letters again, as new messages by the same writers; answers those. Twice is once. `conflict` for one that is no
   * dead letter or was dropped, `expired` where its conversation has ended; then none is sent.
   */
  retryMessages(ids: readonly number[]): Promise<Message[]>
  /** Lets dead letters go for good. Twice is once; `conflict` for what is no dead letter. */
  dropMessages(ids: readonly number[]): Promise<void>
  /** The id of the newest message of the store; 0 where there is none. */
  newest(): Promise<number>
  /**
   * Messages to `reader`, in batches as they come: first all unacked ones with id > after, then new ones, for ever, in order.
   * Ends when `signal` aborts. Goes on after a distant store was unreachable; may repeat a message, never leaves one out.
   */
  mail(reader: SessionId, after: number, signal: AbortSignal): AsyncIterable<readonly StoredMessage[]>
  /**
   * Every message of the store with id > after, whoever reads it, in order, for ever, in batches as they come. Consumes
   * nothing and writes nothing; works while others write, and before the store exists. Ends when `signal` aborts.
   */
  traffic(after: number, signal: AbortSignal): AsyncIterable<readonly StoredMessage[]>
  /** Advances the delivery state of messages to `reader`. Ids of others, or further along already, are passed over. */
  mark(reader: SessionId, ids: readonly number[], mark: Mark): Promise<void>

  // Liveness

  /**
   * Takes beats in; an older seq of the same incarnation changes nothing. Unknown sessions are passed over. Where another place
   * speaks for a session, its beat is refused, and the others are taken before `conflict` is thrown.
   */
  beat(beats: readonly Beat[]): Promise<void>
  /**
   * The latest beats that changed after a cursor; 0 asks for all, and so does a cursor beyond all that there is: it is of another
   * store, and the answer's own lies below it.
   */
  pulses(after: number): Promise<ObservedBeats>
  /**
   * Keeps what the agent of this session says that it does, for its partner to see: also for one of the Python bridge. It is no beat.
   * `not_found`, `expired`.
   */
  noteStatus(session: SessionId, status: SaidStatus): Promise<void>
  /**
   * What the agent of this session said last, `working` where it never said anything and was heard; null for one that was never
   * heard. Its time may lag by half a minute behind its beats.
   */
  lastStatus(session: SessionId): Promise<LastStatus | null>

  // Tasks

  /** Adds a task; when it has a holder, assigns it and sends the assignment. The same task twice answers the first; `conflict` for another. */
  addTask(task: NewTask): Promise<Task>
  tasks(filter: TaskFilter): Promise<Task[]>
  /** `not_found`. */
  task(id: string): Promise<Task>
  /**
   * Leases the most urgent task that `holder` owns; null when there is none, or each has a pause. What this incarnation has
   * leased already it gets again. What another one had leased was interrupted, and gets epoch + 1. `passing` names tasks that
   * are not wanted now. `conflict` where another place than `place` speaks for the holder.
   */
  leaseTask(holder: SessionId, incarnation: string, passing?: readonly string[], place?: string): Promise<Task | null>
  /**
   * Renews the lease and reports progress (`in_progress`), ends the task, or gives it back (`returned`). Only the holder's
   * report at the current epoch counts: any other is refused with `stale_epoch` and kept as evidence. The same twice is once.
   * While nothing can be written to the database, a renewal is answered by the state of its task, and written when it can be: no
   * move could overtake it.
   */
  report(holder: SessionId, report: Report): Promise<Task>
  /** Cancels an open task and tells its holder. Cancelling twice is cancelling once; `conflict` when it ended otherwise. */
  cancelTask(id: string): Promise<Task>
  /**
   * Gives a task another owner with epoch + 1 and its first assignee remembered, and in the same transaction sends a message
   * to the new owner, to the former one and to the task's creator. A task that a lost owner had begun becomes P0.
   * Answers false, and does nothing, when the task is not open at that epoch any more.
   */
  move(move: Move): Promise<boolean>
  /**
   * Fails a task that nobody will end, and tells its holder and its creator. Answers false, and does nothing, when the task is
   * not open at that epoch any more.
   */
  endTask(ending: TaskEnding): Promise<boolean>
  /** Sends the assignment of a task that was not taken again, once an epoch. Answers whether it did. */
  remindTask(id: string, epoch: number): Promise<boolean>
  /** What the agent of this session says of its place; null: it is well. */
  noteCondition(session: SessionId, condition: Condition | null): Promise<void>
  /** The conditions of all places that are not well. */
  conditions(): Promise<AgentCondition[]>
  /** Reports on a task that came too late and were refused, oldest first. */
  evidence(task: string): Promise<LateReport[]>

  // Reservations of files

  /**
   * Reserves files of a repository for the agent of this session, all of them or none: `conflict` names who of its fleet has
   * which, for which task and until when. The same again is one reservation, and makes it longer. It ends by itself at its time, with the
   * conversation of `holder`, and when its task ends or moves to a higher epoch; `stale_epoch` where that is so already.
   * `invalid`, `too_large`.
   */
  reserveFiles(holder: SessionId, wanted: NewReservation): Promise<Reservation[]>
  /**
   * Ends reservations of the agent of this session, and answers those. Where another does it (`by`), the holder is sent a message.
   */
  releaseFiles(holder: SessionId, which: ReservationChoice, by?: SessionId | 'admin'): Promise<Reservation[]>
  /** The reservations that hold now, by age; where a session is named, those of its fleet, which is what one orchestrator leads. */
  reservations(seenBy?: SessionId): Promise<Reservation[]>
  /**
   * A commit was made past the check of its hook. Where it changes what others have alone, they and the orchestrator are sent a
   * message, once a commit. Answers what it touches.
   */
  noteUncheckedCommit(by: SessionId, commit: UncheckedCommit): Promise<Reservation[]>

  // Incidents

  /**
   * Opens an incident unless one with this cause is open, and queues its alert for each channel; `*` stands for all that the
   * watchdog has. Answers whether it did. An event (`isEvent`) is closed at once, and its cause never opened again. Who judges by
   * what was read before says how long ago, `ageMs`: what was closed since is not opened, as whoever closed it knew more.
   */
  openIncident(incident: NewIncident, channels: readonly string[], ageMs?: number): Promise<boolean>
  /**
   * Closes the open incident of this cause and queues an alert of that for each channel. Answers whether it did. `outcome` is one
   * sentence that says what is over and why: it is kept, and is the text of that alert. Who judges by what was read before says how
   * long ago, `ageMs`: what was opened since is not closed.
   */
  closeIncident(cause: string, channels: readonly string[], outcome?: string | null, ageMs?: number): Promise<boolean>
  incidents(filter: { readonly open: boolean }): Promise<Incident[]>
  /**
   * Queues an alert that the open incident of this cause lasts, where people were told so fewer than `times` times. Answers
   * whether it did.
   */
  retellIncident(cause: string, times: number, channels: readonly string[]): Promise<boolean>
  /**
   * Alerts of these channels that are due, claimed for `leaseMs`: no other caller gets them meanwhile. Alerts for `*` become one
   * for each of `all`, the channels that the caller has; by default those that are asked for.
   */
  claimAlerts(channels: readonly string[], leaseMs: number, all?: readonly string[]): Promise<Alert[]>
  /** Ends a claim: the alert was sent, or is due again after retryMs. */
  settleAlert(alert: Alert, outcome: 'told' | { readonly retryMs: number }): Promise<void>

  // Upkeep

  /** Keeps the watchdog's verdicts for people to read; agents not named are forgotten. May iterate more than once. */
  judge(verdicts: Iterable<AgentVerdict>): Promise<void>
  /** The last verdicts, and when they were passed (wall clock); null where no watchdog has passed any. */
  verdicts(): Promise<{ readonly at: number | null; readonly verdicts: readonly AgentVerdict[] }>
  /**
   * Does one round of upkeep: foreign writers' beats and tasks are taken in, our beats mirrored for foreign readers, beats
   * shown to be collected. The bridge repeats it; answers milliseconds until the next round.
   */
  tend(): Promise<number>

  /** The audit chain after an entry, oldest first, at most `limit`. What was sealed into files is not among them. */
  audit(after: number, limit: number): Promise<AuditEntry[]>
  /** The end of the audit chain now. */
  auditHead(): Promise<AuditHead>
  /**
   * Appends an act to the audit chain that is no verb of the store. Asked twice, it is recorded twice. Over the network a session
   * records only what `isOwnAct` lets it, of itself.
   */
  record(act: AuditedAct): Promise<void>
  /**
   * Forgets ended tasks, closed incidents and conditions of ended conversations older than this, and where the store lasts also
   * received messages and audit entries, which it seals into files first. Answers how many.
   */
  prune(olderThanMs: number): Promise<number>
}

export interface TaskFilter {
  readonly open?: boolean
  readonly holder?: SessionId
  readonly state?: TaskState
  readonly limit?: number
  /** Of more than `limit` the newest are answered, and not the oldest. The order stays: oldest first. */
  readonly newest?: boolean
}

/** What every backend is built from. */
export interface StoreParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
  /** The store cannot guarantee its writes any more and refuses them: the program should end and be started again. */
  readonly onBroken?: (error: Error) => void
  /** Something began to keep the store from being written to, or is over (null): it passes by itself when its cause does. */
  readonly onTrouble?: (trouble: StoreTrouble | null) => void
  /** Something is not well with the store and nothing is refused for it, or it is well again (null). */
  readonly onWarning?: (kind: StoreWarning['kind'], warning: StoreWarning | null) => void
  /** How rows of foreign writers that nobody can read are told: each as it is found, or their sum when the store is closed. */
  readonly malformedRows?: 'each' | 'sum'
  /** Opening the store begins something that blocks the whole process for at most so long. */
  readonly onLong?: (what: string, atMostMs: number) => void
}

/** A report that came too late. */
export interface LateReport {
  readonly holder: SessionId
  readonly report: Report
  readonly at: number
}
