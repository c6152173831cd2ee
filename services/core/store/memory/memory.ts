import { randomBytes } from 'node:crypto'
import type { AuditEntry } from '#fleet/audit.ts'
import type { Beat, ObservedBeats } from '#fleet/beat.ts'
import type { Conversation, NewConversation, OpenedConversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Alert, Incident, NewIncident } from '#fleet/incident.ts'
import {
  checkSend,
  cleanDraft,
  type Mark,
  type Message,
  type MessageDraft,
  type StoredMessage,
} from '#fleet/message.ts'
import { redact } from '#fleet/redact.ts'
import { parseSession, partnerOf, type SessionId } from '#fleet/session.ts'
import { checkTask, type Move, type NewTask, type Report, type Task } from '#fleet/task.ts'
import { type AddressedTaskMessage, writeTaskMessage } from '#fleet/task-messages.ts'
import { checkHolder } from '#fleet/task-ownership.ts'
import type { AgentVerdict } from '#fleet/verdict.ts'
import { HintChannel } from '../hint-channel.ts'
import type { LateReport, Store, StoreParts, TaskFilter } from '../store.ts'
import { MemoryAuditChain } from './audit-chain.ts'
import { MemoryConversations, type Secrets } from './conversations.ts'
import { MemoryIncidents } from './incidents.ts'
import { MemoryLiveness } from './liveness.ts'
import { MemoryMessages } from './messages.ts'
import { MemoryTasks } from './tasks.ts'

/** Messages handed out in one go. */
const BATCH = 256
/** How often a store that keeps nothing elsewhere is tended: often enough for observers to see that beats are collected. */
const TEND_EVERY_MS = 1_000

/**
 * Opens an empty fleet in memory: for tests, simulations, and fleets that need not outlive their bridge. All that was ever
 * sent stays until it is closed, as keys are for ever. `secrets` makes ids and tokens; only a simulation gives another one.
 */
export function openMemoryStore({ clock }: Pick<StoreParts, 'clock'>, secrets: Secrets = randomBytes): Store {
  return new MemoryStore(clock, secrets)
}

/** Each verb is one turn of the event loop, so nothing comes between its comparison and its effect. */
class MemoryStore implements Store {
  readonly #conversations: MemoryConversations
  readonly #messages: MemoryMessages
  readonly #liveness: MemoryLiveness
  readonly #tasks: MemoryTasks
  readonly #incidents: MemoryIncidents
  readonly #chain: MemoryAuditChain
  readonly #hints = new HintChannel()
  readonly #clock: StoreParts['clock']
  readonly #closing = new AbortController()

  constructor(clock: StoreParts['clock'], secrets: Secrets) {
    this.#clock = clock
    this.#conversations = new MemoryConversations(clock, secrets)
    this.#messages = new MemoryMessages(clock)
    this.#liveness = new MemoryLiveness(clock)
    this.#incidents = new MemoryIncidents(clock)
    this.#chain = new MemoryAuditChain(clock)
    this.#tasks = new MemoryTasks(clock, {
      send: (letter) => this.#post(letter),
      note: (act) => this.#chain.append(act),
    })
  }

  async openConversation(wanted: NewConversation): Promise<OpenedConversation> {
    this.#demandOpen()
    const opened = this.#conversations.open(wanted)
    this.#note('admin', 'conversation_opened', { conversation: opened.id, agents: opened.agents })
    return opened
  }

  async conversations(): Promise<Conversation[]> {
    this.#demandOpen()
    return this.#conversations.live()
  }

  async renewConversation(id: string, lifetimeMs: number): Promise<Conversation> {
    this.#demandOpen()
    const renewed = this.#conversations.renew(id, lifetimeMs)
    this.#note('admin', 'conversation_renewed', { conversation: id, expiresAt: renewed.expiresAt })
    return renewed
  }

  async endConversation(id: string): Promise<void> {
    this.#demandOpen()
    if (this.#conversations.end(id)) this.#note('admin', 'conversation_ended', { conversation: id })
  }

  async tokens(session: SessionId): Promise<readonly string[]> {
    this.#demandOpen()
    return this.#conversations.tokens(session)
  }

  async rotateToken(session: SessionId, overlapMs: number): Promise<string> {
    this.#demandOpen()
    const token = this.#conversations.rotate(session, overlapMs)
    this.#note('admin', 'token_rotated', { session, overlapMs })
    return token
  }

  async hintCredentials(conversations: readonly string[]): Promise<void> {
    this.#demandOpen()
    this.#hints.give(conversations)
  }

  credentialHints(signal: AbortSignal): AsyncIterable<readonly string[]> {
    return this.#hints.heard(signal)
  }

  async send(from: SessionId, key: string, draft: MessageDraft): Promise<Message> {
    this.#demandOpen()
    checkSend(from, key, draft)
    const clean = cleanDraft(draft)
    const earlier = this.#messages.repeated(from, key, clean)
    if (earlier !== null) return earlier
    this.#demandLive(from)
    const message = this.#messages.post(from, clean)
    this.#messages.remember(from, key, clean, message)
    this.#note(from, 'send', { message: message.id, to: message.to })
    this.#tasks.absorb(message)
    return message
  }

  async unacked(reader: SessionId, after: number, limit: number): Promise<StoredMessage[]> {
    this.#demandOpen()
    parseSession(reader)
    return this.#messages.unacked(reader, after, limit)
  }

  async *mail(reader: SessionId, after: number, signal: AbortSignal): AsyncGenerator<StoredMessage> {
    parseSession(reader)
    const read = (cursor: number): StoredMessage[] => this.#messages.unacked(reader, cursor, BATCH)
    for await (const batch of this.#follow(reader, after, signal, read)) {
      for (const message of batch) {
        if (signal.aborted) return
        yield message
      }
    }
  }

  traffic(after: number, signal: AbortSignal): AsyncIterable<readonly StoredMessage[]> {
    return this.#follow('all', after, signal, (cursor) => this.#messages.after(cursor, BATCH))
  }

  async mark(reader: SessionId, ids: readonly number[], mark: Mark): Promise<void> {
    this.#demandOpen()
    parseSession(reader)
    const moved = this.#messages.mark(reader, ids, mark)
    if (mark === 'acked' && moved.length > 0) this.#note(reader, 'ack', { messages: moved })
  }

  async beat(beats: readonly Beat[]): Promise<void> {
    this.#demandOpen()
    for (const beat of beats) {
      if (this.#liveness.has(beat.session) || this.#conversations.isLive(beat.session)) this.#liveness.take(beat)
    }
  }

  async pulses(after: number): Promise<ObservedBeats> {
    this.#demandOpen()
    return this.#liveness.pulses(after)
  }

  async addTask(task: NewTask): Promise<Task> {
    this.#demandOpen()
    checkTask(task)
    if (task.createdBy !== null) parseSession(task.createdBy)
    const first = this.#tasks.get(task.id)
    if (first !== undefined) return first
    if (task.holder !== null) this.#demandSeat(task.holder)
    return this.#tasks.add(task)
  }

  async tasks(filter: TaskFilter): Promise<Task[]> {
    this.#demandOpen()
    return this.#tasks.list(filter)
  }

  async task(id: string): Promise<Task> {
    this.#demandOpen()
    return this.#tasks.demand(id)
  }

  async leaseTask(holder: SessionId, incarnation: string): Promise<Task | null> {
    this.#demandOpen()
    parseSession(holder)
    return this.#tasks.lease(holder, incarnation)
  }

  async report(holder: SessionId, report: Report): Promise<Task> {
    this.#demandOpen()
    return this.#tasks.report(holder, report)
  }

  async cancelTask(id: string): Promise<Task> {
    this.#demandOpen()
    return this.#tasks.cancel(id)
  }

  async move(move: Move): Promise<boolean> {
    this.#demandOpen()
    return this.#tasks.move(move, (to) => this.#demandSeat(to))
  }

  async evidence(task: string): Promise<LateReport[]> {
    this.#demandOpen()
    return this.#tasks.evidence(task)
  }

  async openIncident(wanted: NewIncident, channels: readonly string[]): Promise<boolean> {
    this.#demandOpen()
    const incident = this.#incidents.open({ ...wanted, summary: redact(wanted.summary) }, channels)
    if (incident === null) return false
    const { id, cause, kind, agent } = incident
    this.#note('watchdog', 'incident_opened', { incident: id, cause, kind, agent })
    return true
  }

  async closeIncident(cause: string, channels: readonly string[]): Promise<boolean> {
    this.#demandOpen()
    const incident = this.#incidents.close(cause, channels)
    if (incident === null) return false
    this.#note('watchdog', 'incident_closed', { incident: incident.id, cause })
    return true
  }

  async incidents({ open }: { readonly open: boolean }): Promise<Incident[]> {
    this.#demandOpen()
    return this.#incidents.list(open)
  }

  async claimAlerts(channels: readonly string[], leaseMs: number): Promise<Alert[]> {
    this.#demandOpen()
    return this.#incidents.claim(channels, leaseMs)
  }

  async settleAlert(alert: Alert, outcome: 'told' | { readonly retryMs: number }): Promise<void> {
    this.#demandOpen()
    this.#incidents.settle(alert, outcome)
  }

  async judge(verdicts: Iterable<AgentVerdict>): Promise<void> {
    this.#demandOpen()
    this.#liveness.judge(verdicts)
  }

  async verdicts(): Promise<{ readonly at: number | null; readonly verdicts: readonly AgentVerdict[] }> {
    this.#demandOpen()
    return this.#liveness.judged
  }

  async tend(): Promise<number> {
    this.#demandOpen()
    this.#liveness.tick()
    return TEND_EVERY_MS
  }

  async audit(after: number, limit: number): Promise<AuditEntry[]> {
    this.#demandOpen()
    return this.#chain.read(after, limit)
  }

  async prune(olderThanMs: number): Promise<number> {
    this.#demandOpen()
    const time = this.#clock.wall() - olderThanMs
    return this.#tasks.prune(time) + this.#incidents.prune(time)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    this.#hints[Symbol.dispose]()
  }

  /** Reads from where the last answer ended, and waits for news whenever there is nothing. */
  async *#follow(
    reader: SessionId | 'all',
    after: number,
    signal: AbortSignal,
    read: (cursor: number) => StoredMessage[],
  ): AsyncGenerator<readonly StoredMessage[]> {
    using ending = new Ending([signal, this.#closing.signal])
    let cursor = after
    while (!ending.signal.aborted) {
      const batch = read(cursor)
      cursor = batch.at(-1)?.id ?? cursor
      if (batch.length > 0) yield batch
      else await this.#messages.news(reader, ending.signal)
    }
  }

  /** Letters go to those who can still read them. */
  #post({ to, taskMessage }: AddressedTaskMessage): void {
    if (this.#conversations.isLive(to)) this.#messages.post(partnerOf(to), writeTaskMessage(taskMessage))
  }

  #note(actor: string, action: string, details: AuditEntry['details']): void {
    this.#chain.append({ actor, action, details })
  }

  #demandSeat(holder: SessionId): void {
    this.#demandLive(holder)
    checkHolder(holder)
  }

  #demandLive(session: SessionId): void {
    this.#conversations.demandLive(parseSession(session).conversation)
  }

  #demandOpen(): void {
    if (this.#closing.signal.aborted) throw new S2Error('unavailable', 'the store is closed')
  }
}

/** Aborts with the first of several signals, and lets go of all of them in the end. */
class Ending implements Disposable {
  readonly #ended = new AbortController()
  readonly #signals: readonly AbortSignal[]
  readonly #end = (): void => this.#ended.abort()

  constructor(signals: readonly AbortSignal[]) {
    this.#signals = signals
    for (const signal of signals) {
      if (signal.aborted) this.#ended.abort()
      signal.addEventListener('abort', this.#end, { once: true })
    }
  }

  get signal(): AbortSignal {
    return this.#ended.signal
  }

  [Symbol.dispose](): void {
    for (const signal of this.#signals) signal.removeEventListener('abort', this.#end)
  }
}
