import type { AgentCondition, Condition } from '#fleet/agent-condition.ts'
import type { AuditEntry, AuditedAct } from '#fleet/audit.ts'
import type { AuditHead } from '#fleet/audit-head.ts'
import { type Beat, type ObservedBeats, withoutActivity } from '#fleet/beat.ts'
import type { Conversation, NewConversation, OpenedConversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Alert, Incident, NewIncident } from '#fleet/incident.ts'
import {
  type Mark,
  type Message,
  type MessageDraft,
  type StoredMessage,
  type WaitingMessage,
  waitingMessageOf,
} from '#fleet/message.ts'
import type { LeasedMessage, LeaseNote, MessageStatus } from '#fleet/message-leases.ts'
import type { Addressee, FleetAgent } from '#fleet/peer-messages.ts'
import type { NewReservation, Reservation, ReservationChoice, UncheckedCommit } from '#fleet/reservation.ts'
import type { LastStatus, SaidStatus } from '#fleet/said-status.ts'
import { conversationOf, type SessionId } from '#fleet/session-id.ts'
import type { Move, NewTask, Report, Task, TaskEnding } from '#fleet/task.ts'
import type { AgentVerdict } from '#fleet/verdict.ts'
import type { Admission, JoinOutcome, JoinRequest, NewInvitation, Worker } from '#fleet/worker.ts'
import { HintChannel } from '../hint-channel.ts'
import type { LateReport, Store, StoreParts, TaskFilter } from '../store.ts'
import type { BridgeTrust } from './bridge-trust.ts'
import { HttpClient } from './http-client.ts'
import { type Keyring, keyFor } from './keyring.ts'
import { type MailStreamParts, mailStream, type PollPauses } from './mail-stream.ts'
import { WebSocketLink } from './websocket-link.ts'
import { type Input, type Output, VERBS, type VerbName } from './wire-schema.ts'
import type { Frozen } from './wire-values.ts'

export interface RemoteOptions {
  /** How long one request may take, milliseconds. */
  readonly callMs?: number
  /** How long this host may send nothing before it asks whether the bridge still answers: the period of beats. */
  readonly probeMs?: number
  readonly pollMs?: PollPauses
}

export interface RemoteStore extends Store {
  /**
   * How the bridge is reached now. `socket`: a beat costs next to nothing. `polling`: no socket gets through, and each beat is
   * a request. `away`: not at all, or the socket is still opening.
   */
  readonly link: { readonly means: 'socket' | 'polling' | 'away' }
  /**
   * Sessions that the bridge has just refused on the socket, for a reason that does not pass by itself. It is a hint: the
   * refusal may concern a token that was replaced meanwhile, and before the bridge has proved itself anybody can say it. What
   * counts is the answer to the next beat.
   */
  refusedSessions(signal: AbortSignal): AsyncIterable<readonly SessionId[]>
}

const BEATS_A_FRAME = 1_000
/** Longer than the bridge may wait for its database, so that what a caller was told has failed is not done after it. */
export const CALL_MS = 10_000

/**
 * A store behind a distant bridge. `https://…` speaks for the sessions of the keyring, each request signed by the one it
 * speaks for; `unix:/path` speaks to the administration socket of a bridge on this host, and may do everything.
 */
export function openRemoteStore(
  url: string,
  keyring: Keyring | null,
  parts: StoreParts,
  options: RemoteOptions = {},
): RemoteStore {
  const { callMs = CALL_MS, probeMs = 5_000, pollMs = { first: 2_000, most: 30_000 } } = options
  if (url.startsWith('unix:')) {
    const client = new HttpClient({ socketPath: url.slice('unix:'.length) }, parts, callMs)
    return new Remote(client, null, parts, pollMs)
  }
  const origin = originOf(url)
  if (keyring === null) {
    throw new S2Error('invalid', `${origin.origin} can be spoken to only for sessions whose credentials are at hand`, {
      next: 'speak to the bridge on its own host by S2_STORE=unix:/…/run/admin.sock',
    })
  }
  const trust: BridgeTrust = { authority: () => keyring.authority?.(), pin: () => keyring.pin?.() }
  const target = { origin, trust, allowsPlain: keyring.allowsPlain === true }
  const client = new HttpClient(target, parts, callMs)
  const hints = new HintChannel()
  const refusals = new HintChannel<SessionId>()
  const link = new WebSocketLink(target, probeMs, {
    ...parts,
    token: (session) => keyring.token(session),
    onCredential: (session) => hints.give([conversationOf(session)]),
    onRefused: (session) => refusals.give([session]),
  })
  return new Remote(client, { link, keyring, hints, refusals }, parts, pollMs)
}

function originOf(url: string): URL {
  const origin = URL.canParse(url) ? new URL(url) : null
  if (origin === null || !/^https?:$/.test(origin.protocol) || origin.username !== '' || origin.password !== '') {
    throw new S2Error('invalid', 'the address of the bridge is not a plain http or https URL', {
      next: 'write it like https://bridge.example.org or http://127.0.0.1:7433',
    })
  }
  return origin
}

/** What a host has besides requests: its socket, and what comes by it. */
interface HostSide {
  readonly link: WebSocketLink
  readonly keyring: Keyring
  /** Conversations for which there may be a new credential. */
  readonly hints: HintChannel
  readonly refusals: HintChannel<SessionId>
}

class Remote implements RemoteStore {
  readonly #client: HttpClient
  /** Null: administration. */
  readonly #host: HostSide | null
  readonly #parts: StoreParts
  readonly #pollMs: PollPauses
  readonly #closed = new AbortController()

  constructor(client: HttpClient, host: HostSide | null, parts: StoreParts, pollMs: PollPauses) {
    this.#client = client
    this.#host = host
    this.#parts = parts
    this.#pollMs = pollMs
  }

  get link(): RemoteStore['link'] {
    if (this.#host?.link.linked === true) return { means: 'socket' }
    const isPolling = this.#client.answers && this.#host?.link.isBarred !== false
    return { means: isPolling ? 'polling' : 'away' }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort()
    this.#host?.hints[Symbol.dispose]()
    this.#host?.refusals[Symbol.dispose]()
    this.#client[Symbol.dispose]()
    await this.#host?.link[Symbol.asyncDispose]()
  }

  async openConversation(wanted: NewConversation): Promise<OpenedConversation> {
    return await this.#ask('openConversation', { wanted })
  }

  async conversations(): Promise<Conversation[]> {
    return await this.#ask('conversations', {})
  }

  async renewConversation(id: string, lifetimeMs: number): Promise<Conversation> {
    return await this.#ask('renewConversation', { id, lifetimeMs })
  }

  async endConversation(id: string): Promise<void> {
    await this.#ask('endConversation', { id })
  }

  async tokens(session: SessionId): Promise<readonly string[]> {
    return await this.#ask('tokens', { session })
  }

  async rotateToken(session: SessionId, overlapMs: number): Promise<string> {
    return await this.#ask('rotateToken', { session, overlapMs })
  }

  async workers(): Promise<Worker[]> {
    return await this.#ask('workers', {})
  }

  async inviteWorker(invitation: NewInvitation): Promise<Worker> {
    return await this.#ask('inviteWorker', { invitation })
  }

  async admitWorker(admission: Admission): Promise<Worker> {
    return await this.#ask('admitWorker', { admission })
  }

  async issueTokens(agent: string, overlapMs: number, lifetimeMs: number): Promise<Worker> {
    return await this.#ask('issueTokens', { agent, overlapMs, lifetimeMs })
  }

  async revokeWorker(agent: string): Promise<Worker> {
    return await this.#ask('revokeWorker', { agent })
  }

  async renameWorker(agent: string, changes: { readonly agent?: string; readonly role?: string }): Promise<Worker> {
    return await this.#ask('renameWorker', { agent, changes })
  }

  async notePublished(agent: string, serial: number, file: string): Promise<void> {
    await this.#ask('notePublished', { agent, serial, file })
  }

  async publishedCredential(key: string): Promise<string | null> {
    return await this.#ask('publishedCredential', { key })
  }

  async noteRefusal(session: SessionId, why: string | null): Promise<void> {
    await this.#ask('noteRefusal', { session, why }, session)
  }

  async confirmToken(session: SessionId, tokenHash: string): Promise<void> {
    await this.#ask('confirmToken', { session, tokenHash }, session)
  }

  async submitJoin(sealed: string): Promise<string> {
    return await this.#ask('submitJoin', { sealed })
  }

  async joinOutcome(id: string): Promise<JoinOutcome> {
    return await this.#ask('joinOutcome', { id })
  }

  async joinRequests(): Promise<JoinRequest[]> {
    return await this.#ask('joinRequests', {})
  }

  async settleJoin(id: string, state: 'admitted' | 'refused', why: string | null): Promise<void> {
    await this.#ask('settleJoin', { id, state, why })
  }

  async hintCredentials(conversations: readonly string[]): Promise<void> {
    await this.#ask('hintCredentials', { conversations })
  }

  async *credentialHints(signal: AbortSignal): AsyncGenerator<readonly string[]> {
    if (this.#host !== null) return yield* this.#host.hints.heard(signal)
    for await (const item of this.#client.listen('credentialHints', () => ({}), signal)) yield item as string[]
  }

  /** Administration speaks for no session: for it this ends at once. */
  async *refusedSessions(signal: AbortSignal): AsyncGenerator<readonly SessionId[]> {
    if (this.#host !== null) yield* this.#host.refusals.heard(signal)
  }

  async send(from: SessionId, key: string, draft: MessageDraft): Promise<Message> {
    return await this.#ask('send', { from, key, draft }, from)
  }

  async post(from: SessionId, to: Addressee, key: string, draft: MessageDraft): Promise<Message[]> {
    return await this.#ask('post', { from, to, key, draft }, from)
  }

  async listAgents(): Promise<FleetAgent[]> {
    return await this.#ask('listAgents', {})
  }

  async unacked(reader: SessionId, after: number, limit: number): Promise<StoredMessage[]> {
    return await this.#ask('unacked', { reader, after, limit }, reader)
  }

  /** A bridge is asked for the whole messages: it may be older than this verb. */
  async waiting(reader: SessionId, after: number, limit: number): Promise<WaitingMessage[]> {
    const found: WaitingMessage[] = []
    for (let last = after, isMore = true; isMore && found.length < limit; ) {
      const page = await this.unacked(reader, last, limit - found.length)
      found.push(...page.map(waitingMessageOf))
      last = page.at(-1)?.id ?? last
      isMore = page.length > 0
    }
    return found
  }

  async leaseMessages(reader: SessionId, by: string, limit: number, leaseMs: number): Promise<LeasedMessage[]> {
    return await this.#ask('leaseMessages', { reader, by, limit, leaseMs }, reader)
  }

  async noteLeases(reader: SessionId, notes: readonly LeaseNote[]): Promise<void> {
    await this.#ask('noteLeases', { reader, notes }, reader)
  }

  async messageStatus(id: number): Promise<MessageStatus> {
    return await this.#ask('messageStatus', { id })
  }

  async giveUpMessages(reader: SessionId, ids: readonly number[], why: string): Promise<void> {
    await this.#ask('giveUpMessages', { reader, ids, why }, reader)
  }

  async deadLetters(): Promise<MessageStatus[]> {
    return await this.#ask('deadLetters', {})
  }

  async retryMessages(ids: readonly number[]): Promise<Message[]> {
    return await this.#ask('retryMessages', { ids })
  }

  async dropMessages(ids: readonly number[]): Promise<void> {
    await this.#ask('dropMessages', { ids })
  }

  async newest(): Promise<number> {
    return await this.#ask('newest', {})
  }

  async *mail(reader: SessionId, after: number, signal: AbortSignal): AsyncGenerator<readonly StoredMessage[]> {
    if (this.#host === null) {
      let cursor = after
      for await (const item of this.#client.listen('mail', () => ({ reader, after: cursor }), signal)) {
        const message = item as StoredMessage
        cursor = message.id
        yield [message]
      }
      return
    }
    const parts: MailStreamParts = {
      link: this.#host.link,
      clock: this.#parts.clock,
      pollMs: this.#pollMs,
      unacked: (...asked) => this.unacked(...asked),
    }
    yield* mailStream(reader, after, parts, AbortSignal.any([signal, this.#closed.signal]))
  }

  async *traffic(after: number, signal: AbortSignal): AsyncGenerator<readonly StoredMessage[]> {
    if (this.#host !== null) {
      throw new S2Error('forbidden', 'the messages of all sessions are for the bridge’s own host', {
        next: 'ask through the administration socket run/admin.sock of its state folder',
      })
    }
    let cursor = after
    for await (const item of this.#client.listen('traffic', () => ({ after: cursor }), signal)) {
      const batch = item as StoredMessage[]
      cursor = batch.at(-1)?.id ?? cursor
      yield batch
    }
  }

  async mark(reader: SessionId, ids: readonly number[], mark: Mark): Promise<void> {
    const link = this.#host?.link
    if (link?.isJoined(reader) === true) {
      try {
        return await link.mark(reader, ids, mark)
      } catch (error) {
        if (!(error instanceof S2Error) || error.code !== 'unavailable') throw error
      }
    }
    await this.#ask('mark', { reader, ids, mark }, reader)
  }

  async beat(beats: readonly Beat[]): Promise<void> {
    if (this.#host === null) {
      return await this.#askBeat(beats)
    }
    const { link } = this.#host
    const bySession = Map.groupBy(beats, ({ session }) => session)
    for (const session of bySession.keys()) link.ensureJoined(session)
    const joined = beats.filter(({ session }) => link.isJoined(session))
    const others = [...bySession].filter(([session]) => !link.isJoined(session))
    const outcomes = await Promise.allSettled([
      ...chunks(joined, BEATS_A_FRAME).map((some) => link.beat(some)),
      ...others.map(([session, own]) => this.#askBeat(own, session)),
    ])
    // One session that is refused must not keep the others from beating: the error is thrown afterwards.
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }

  /** An older bridge refuses a beat that says what a client does: it gets the beat without. */
  async #askBeat(beats: readonly Beat[], session?: SessionId): Promise<void> {
    const ask = async (some: readonly Beat[]): Promise<unknown> =>
      session === undefined
        ? await this.#ask('beat', { beats: some })
        : await this.#ask('beat', { beats: some }, session)
    try {
      await ask(beats)
    } catch (error) {
      const isPlain = beats.every(({ activity }) => activity === undefined)
      if (isPlain || !(error instanceof S2Error) || error.code !== 'invalid') throw error
      await ask(beats.map(withoutActivity))
    }
  }

  async pulses(after: number): Promise<ObservedBeats> {
    return await this.#ask('pulses', { after })
  }

  async addTask(task: NewTask): Promise<Task> {
    return await this.#ask('addTask', { task }, ...present(task.createdBy, task.holder))
  }

  async tasks(filter: TaskFilter): Promise<Task[]> {
    return await this.#ask('tasks', { filter }, ...present(filter.holder))
  }

  async task(id: string): Promise<Task> {
    return await this.#ask('task', { id })
  }

  async leaseTask(
    holder: SessionId,
    incarnation: string,
    passing: readonly string[] = [],
    place?: string,
  ): Promise<Task | null> {
    const rest = { ...(passing.length > 0 ? { passing } : {}), ...(place === undefined ? {} : { place }) }
    return await this.#ask('leaseTask', { holder, incarnation, ...rest }, holder)
  }

  async report(holder: SessionId, report: Report): Promise<Task> {
    return await this.#ask('report', { holder, report }, holder)
  }

  async cancelTask(id: string): Promise<Task> {
    return await this.#ask('cancelTask', { id })
  }

  async move(move: Move): Promise<boolean> {
    return await this.#ask('move', { move })
  }

  async endTask(ending: TaskEnding): Promise<boolean> {
    return await this.#ask('endTask', { ending })
  }

  async remindTask(id: string, epoch: number): Promise<boolean> {
    return await this.#ask('remindTask', { id, epoch })
  }

  async noteCondition(session: SessionId, condition: Condition | null): Promise<void> {
    await this.#ask('noteCondition', { session, condition }, session)
  }

  async conditions(): Promise<AgentCondition[]> {
    return await this.#ask('conditions', {})
  }

  async evidence(task: string): Promise<LateReport[]> {
    return await this.#ask('evidence', { task })
  }

  async reserveFiles(holder: SessionId, wanted: NewReservation): Promise<Reservation[]> {
    return await this.#ask('reserveFiles', { holder, wanted }, holder)
  }

  /** The bridge knows who asks: `by` is left out. */
  async releaseFiles(holder: SessionId, which: ReservationChoice): Promise<Reservation[]> {
    return await this.#ask('releaseFiles', { holder, which }, holder)
  }

  /** A session sees those of its own fleet, whoever is named. */
  async reservations(seenBy?: SessionId): Promise<Reservation[]> {
    return await this.#ask('reservations', seenBy === undefined ? {} : { seenBy }, ...present(seenBy))
  }

  async noteUncheckedCommit(by: SessionId, commit: UncheckedCommit): Promise<Reservation[]> {
    return await this.#ask('noteUncheckedCommit', { by, commit }, by)
  }

  async openIncident(incident: NewIncident, channels: readonly string[], ageMs?: number): Promise<boolean> {
    return await this.#ask('openIncident', { incident, channels, ...(ageMs === undefined ? {} : { ageMs }) })
  }

  async closeIncident(
    cause: string,
    channels: readonly string[],
    outcome: string | null = null,
    ageMs?: number,
  ): Promise<boolean> {
    return await this.#ask('closeIncident', { cause, channels, outcome, ...(ageMs === undefined ? {} : { ageMs }) })
  }

  async incidents(filter: { readonly open: boolean }): Promise<Incident[]> {
    return await this.#ask('incidents', { filter })
  }

  async retellIncident(cause: string, times: number, channels: readonly string[]): Promise<boolean> {
    return await this.#ask('retellIncident', { cause, times, channels })
  }

  async claimAlerts(channels: readonly string[], leaseMs: number, all: readonly string[] = channels): Promise<Alert[]> {
    return await this.#ask('claimAlerts', { channels, leaseMs, all })
  }

  async settleAlert(alert: Alert, outcome: 'told' | { readonly retryMs: number }): Promise<void> {
    await this.#ask('settleAlert', { alert, outcome })
  }

  async judge(verdicts: Iterable<AgentVerdict>): Promise<void> {
    await this.#ask('judge', { verdicts: [...verdicts] })
  }

  async noteStatus(session: SessionId, status: SaidStatus): Promise<void> {
    await this.#ask('noteStatus', { session, status }, session)
  }

  async lastStatus(session: SessionId): Promise<LastStatus | null> {
    return await this.#ask('lastStatus', { session })
  }

  async verdicts(): Promise<{ readonly at: number | null; readonly verdicts: readonly AgentVerdict[] }> {
    return await this.#ask('verdicts', {})
  }

  async tend(): Promise<number> {
    return await this.#ask('tend', {})
  }

  async audit(after: number, limit: number): Promise<AuditEntry[]> {
    return await this.#ask('audit', { after, limit })
  }

  async auditHead(): Promise<AuditHead> {
    return await this.#ask('auditHead', {})
  }

  async record(act: AuditedAct): Promise<void> {
    await this.#ask('record', { act }, ...(this.#host === null ? [] : [act.actor as SessionId]))
  }

  async prune(olderThanMs: number): Promise<number> {
    return await this.#ask('prune', { olderThanMs })
  }

  /** `speakers`: the sessions that may sign, the best first. Without any, an orchestrator's session, which sees most. */
  async #ask<N extends VerbName>(
    verb: N,
    input: Frozen<Input<N>>,
    ...speakers: readonly SessionId[]
  ): Promise<Output<N>> {
    if (this.#closed.signal.aborted) throw new S2Error('unavailable', 'this store was closed')
    const isSigned = this.#host !== null && VERBS[verb].who !== 'public'
    return await this.#client.ask(verb, input, isSigned ? keyFor(this.#host.keyring, verb, speakers) : null)
  }
}

function present(...sessions: readonly (SessionId | null | undefined)[]): SessionId[] {
  return sessions.filter((each) => each !== null && each !== undefined)
}

function* chunks<T>(items: readonly T[], size: number): Generator<readonly T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size)
}
