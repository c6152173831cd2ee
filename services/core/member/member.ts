import type { MessageDraft, StoredMessage } from '#fleet/message.ts'
import type { Addressee, FleetAgent } from '#fleet/peer-messages.ts'
import type { Reservation, ReservationMode } from '#fleet/reservation.ts'
import type { LastStatus, SaidStatus } from '#fleet/said-status.ts'
import type { SessionId, Side } from '#fleet/session-id.ts'
import type { OnDeadline, Priority, Task } from '#fleet/task.ts'

/**
 * What an agent can do as a member of the fleet, whichever door it comes through: a tool, a command, the bridge. Verbs throw
 * `S2Error` with what to do next. Times are milliseconds.
 */
export interface Member {
  /** Opens a conversation with a partner that is yet to come. The answer is the only one that ever carries its tokens. */
  openConversation(roles: Readonly<Record<Side, string>>): Promise<OpenedChannel>
  /** Sends to the partner of the speaker's conversation. */
  sendToPartner(as: Speaker, draft: MessageDraft): Promise<SentMessage>
  /** Sends to an agent, or to every other one of a role, as far as the fleet lets the speaker. */
  sendTo(as: Speaker, to: Addressee, draft: MessageDraft): Promise<SentMessage>
  /** Takes new messages, oldest first, and acks those that this member took before. */
  check(as: Speaker, limit: number): Promise<CheckedMail>
  /** Acks messages: they are received, and come to nobody again. Answers those that it found. */
  ack(as: Speaker, ids: readonly number[]): Promise<readonly number[]>
  /** The partner of the speaker's conversation, as far as the fleet knows. */
  partner(as: Speaker): Promise<PartnerStatus>
  /** Keeps what the speaker's agent says that it does, for its partner to see. */
  say(as: Speaker, status: SaidStatus): Promise<void>
  /** The agents that the speaker may see. */
  agents(as: Speaker): Promise<readonly FleetAgent[]>
  /** The tasks that the speaker may see: the open ones, or all. */
  tasks(as: Speaker, filter: { readonly open: boolean; readonly limit: number }): Promise<readonly Task[]>
  /** Leases a task that the speaker's agent has: this one, or the most urgent; null where none waits. */
  take(as: Speaker, id: string | null): Promise<TakenTask | null>
  /** Says how far a task has come. It renews its lease. */
  progress(as: Speaker, id: string, said: SaidProgress): Promise<ReportedTask>
  /** Ends a task that the speaker holds. */
  end(as: Speaker, id: string, state: 'completed' | 'failed', words: string): Promise<ReportedTask>
  /** Gives a new task to an agent, or to any of a role. */
  assign(as: Speaker, wish: TaskWish): Promise<Task>
  /** Reserves files of a repository for the speaker's agent: all of them, or none. */
  reserve(as: Speaker, wish: ReservationWish): Promise<readonly Reservation[]>
  /** Ends reservations of the speaker's agent, and answers those. */
  release(as: Speaker, which: ReleaseWish): Promise<readonly Reservation[]>
  /** Notes that the agent called, and answers what it must hear once, such as a task that was moved away from it. */
  noteCall(): Promise<readonly string[]>
}

/** Who speaks, as far as it says so. What is left out is what the host's credentials say. */
export interface Speaker {
  readonly conversation: string | null
  readonly side: Side | null
  readonly token: string | null
}

/** Whoever the host's credentials say. */
export const ANY_SPEAKER: Speaker = { conversation: null, side: null, token: null }

export interface OpenedChannel {
  readonly conversation: string
  readonly tokens: Readonly<Record<Side, string>>
  readonly expiresAt: number
}

export interface SentMessage {
  /** `waiting`: it lies in this host's outbox, durably; `carried`: the bridge has it; else how far it is in the store. */
  readonly state: 'waiting' | 'carried' | 'queued' | 'delivered' | 'leased' | 'acked'
  readonly from: SessionId
  /** A session, an agent, or a role. */
  readonly to: string
  /** Its number in the store; null where it has none yet. */
  readonly id: number | null
  /** Why it is not carried just now; null where it is. */
  readonly why: string | null
}

export interface CheckedMail {
  readonly messages: readonly CheckedMessage[]
  /** How many more wait. */
  readonly more: number
  /** Why there may be mail that has not come; null where nothing keeps it away. */
  readonly why: string | null
}

export interface CheckedMessage extends StoredMessage {
  /** The how-manieth time it is handed out, where somebody had it before and did not ack it: it may have been read. Null else. */
  readonly again: number | null
}

export interface PartnerStatus {
  readonly session: SessionId
  readonly agent: string
  readonly role: string
  /** What it said last that it does, and how long ago it was heard, milliseconds; null where it was never heard. */
  readonly said: { readonly status: LastStatus['status']; readonly agoMs: number } | null
  /** What the watchdog thinks of it; null where no watchdog has judged it. */
  readonly verdict: string | null
  readonly why: string | null
}

export interface ReservationWish {
  readonly globs: readonly string[]
  readonly mode: ReservationMode
  /** Null: as long as usual, `RESERVED_FOR_MS`. */
  readonly forMs: number | null
  /** The task that it is for: it ends with that. */
  readonly task: string | null
  readonly note: string | null
  /** What the repository is called; null: the one that the agent works in. */
  readonly repository: string | null
}

export interface ReleaseWish {
  /** Null: all of the repository. */
  readonly globs: readonly string[] | null
  readonly repository: string | null
}

export interface TakenTask {
  readonly task: Task
  /** Who keeps the lease alive, in words. */
  readonly renewal: string
}

export interface SaidProgress {
  readonly percent: number | null
  readonly note: string | null
  readonly checkpoint: string | null
}

export interface ReportedTask {
  readonly task: string
  readonly epoch: number
  readonly session: SessionId
  /** `noted`: `s2 work` has it, and tells the fleet when the turn or command that it runs has ended. */
  readonly state: 'waiting' | 'carried' | 'noted'
  readonly why: string | null
}

export interface TaskWish {
  readonly description: string
  readonly to: string | null
  readonly role: string | null
  readonly priority: Priority
  readonly id: string | null
  /** From now on. */
  readonly deadlineMs: number | null
  readonly onDeadline: OnDeadline
}
