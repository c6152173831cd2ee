import { randomBytes } from 'node:crypto'
import type { Beat } from '#fleet/beat.ts'
import type { Conversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import { EVERY_CHANNEL } from '#fleet/incident.ts'
import {
  checkSend,
  cleanDraft,
  type Mark,
  type Message,
  type MessageDraft,
  type StoredMessage,
  sendAct,
  type WaitingMessage,
} from '#fleet/message.ts'
import { type Addressee, allAgents, checkPost, type FleetAgent, recipientsOf } from '#fleet/peer-messages.ts'
import type { SaidStatus } from '#fleet/said-status.ts'
import { conversationOf, parseSession, partnerOf, type SessionId, sessionId } from '#fleet/session-id.ts'
import { Speakers } from '#fleet/speakers.ts'
import type { Task } from '#fleet/task.ts'
import { writeTaskMessage } from '#fleet/task-messages.ts'
import { type AgentVerdict, changesOf, verdictsAct } from '#fleet/verdict.ts'
import type { Admission, Worker } from '#fleet/worker.ts'
import { tableVerbs, type VerbTables } from '../delegate-to-tables.ts'
import { HintChannel } from '../hint-channel.ts'
import { MessageDeliveries } from '../message-deliveries.ts'
import { RecordedActs } from '../recorded-acts.ts'
import { ReservationRegistry, taskOrNull } from '../reservation-registry.ts'
import type { Store, StoreParts } from '../store.ts'
import { WorkerRegistry } from '../worker-registry.ts'
import { MemoryAuditChain } from './audit-chain.ts'
import { MemoryConditions } from './conditions.ts'
import { MemoryConversations, type Secrets } from './conversations.ts'
import { MemoryIncidents } from './incidents.ts'
import { MemoryLiveness } from './liveness.ts'
import { MemoryMessages } from './messages.ts'
import { MemoryReservationRows } from './reservation-rows.ts'
import { MemoryTasks } from './tasks.ts'
import { MemoryWorkerRows } from './worker-rows.ts'

/** Messages handed out in one go. */
const BATCH = 256
/** Verdicts that one audit entry tells of. */
const CHANGES_IN_ENTRY = 500
/** How often a store that keeps nothing elsewhere is tended: often enough for observers to see that beats are collected. */
const TEND_EVERY_MS = 1_000

/**
 * Opens an empty fleet in memory: for tests, simulations, and fleets that need not outlive their bridge. All that was ever
 * sent stays until it is closed, as keys are for ever. `secrets` makes ids and tokens; only a simulation gives another one.
 */
export function openMemoryStore({ clock }: Pick<StoreParts, 'clock'>, secrets: Secrets = randomBytes): Store {
  const store = new MemoryStore(clock, secrets)
  return Object.assign(
    store,
    tableVerbs(TABLE_VERBS, <T>(act: (tables: Tables) => T) => store.call(act)),
  )
}

interface Tables {
  readonly chain: MemoryAuditChain
  readonly acts: RecordedActs
  readonly conversations: MemoryConversations
  readonly workers: WorkerRegistry
  readonly messages: MemoryMessages
  readonly deliveries: MessageDeliveries
  readonly tasks: MemoryTasks
  readonly conditions: MemoryConditions
  readonly incidents: MemoryIncidents
  readonly reservations: ReservationRegistry
  readonly liveness: MemoryLiveness
}

/** Verbs that one table does alone. */
const TABLE_VERBS = {
  openConversation: 'conversations',
  renewConversation: 'conversations',
  endConversation: 'conversations',
  tokens: 'conversations',
  rotateToken: 'conversations',
  workers: 'workers',
  inviteWorker: 'workers',
  issueTokens: 'workers',
  revokeWorker: 'workers',
  renameWorker: 'workers',
  notePublished: 'workers',
  publishedCredential: 'workers',
  confirmToken: 'workers',
  noteRefusal: 'workers',
  submitJoin: 'workers',
  joinOutcome: 'workers',
  joinRequests: 'workers',
  settleJoin: 'workers',
  leaseMessages: 'deliveries',
  noteLeases: 'deliveries',
  messageStatus: 'deliveries',
  giveUpMessages: 'deliveries',
  deadLetters: 'deliveries',
  retryMessages: 'deliveries',
  dropMessages: 'deliveries',
  addTask: 'tasks',
  tasks: 'tasks',
  task: 'tasks',
  report: 'tasks',
  cancelTask: 'tasks',
  move: 'tasks',
  endTask: 'tasks',
  remindTask: 'tasks',
  noteCondition: 'conditions',
  conditions: 'conditions',
  evidence: 'tasks',
  reserveFiles: 'reservations',
  releaseFiles: 'reservations',
  reservations: 'reservations',
  noteUncheckedCommit: 'reservations',
  openIncident: 'incidents',
  closeIncident: 'incidents',
  retellIncident: 'incidents',
  incidents: 'incidents',
  claimAlerts: 'incidents',
  settleAlert: 'incidents',
  pulses: 'liveness',
  lastStatus: 'liveness',
  verdicts: 'liveness',
  audit: 'chain',
  auditHead: 'chain',
  record: 'acts',
} as const satisfies VerbTables<Tables>

type TableVerb = keyof typeof TABLE_VERBS

function deliveriesOf(
  messages: MemoryMessages,
  conversations: MemoryConversations,
  chain: MemoryAuditChain,
  incidents: MemoryIncidents,
  clock: StoreParts['clock'],
): MessageDeliveries {
  return new MessageDeliveries({
    rows: {
      find: (id) => messages.find(id),
      unacked: (...asked) => messages.unacked(...asked),
      save: (id, record) => messages.save(id, record),
      end: (id) => messages.end(id),
      post: (...posted) => messages.post(...posted),
      dead: (reader) => messages.dead(reader),
      isLive: (session) => conversations.isLive(session),
      agentOf: (session) => conversations.endOf(session)?.agent ?? session,
    },
    clock,
    audit: (act) => chain.append(act),
    tell: (incident) => incidents.openIncident(incident, [EVERY_CHANNEL]),
    closeIncident: (...closed) => incidents.closeIncident(...closed),
  })
}

/** Each verb is one turn of the event loop, so nothing comes between its comparison and its effect. */
class MemoryStore implements Omit<Store, TableVerb> {
  readonly #tables: Tables
  readonly #speakers = new Speakers()
  readonly #hints = new HintChannel()
  readonly #clock: StoreParts['clock']
  readonly #closing = new AbortController()

  constructor(clock: StoreParts['clock'], secrets: Secrets) {
    this.#clock = clock
    const chain = new MemoryAuditChain(clock)
    const conversations = new MemoryConversations(chain, clock, secrets)
    const workers = new WorkerRegistry({
      rows: new MemoryWorkerRows(),
      conversations,
      clock,
      audit: (act) => chain.append(act),
    })
    const messages = new MemoryMessages(clock)
    const incidents = new MemoryIncidents(chain, clock)
    const tasks = new MemoryTasks(conversations, clock, {
      send: ({ to, taskMessage }) => {
        if (conversations.isLive(to)) messages.post({ to, writer: null }, writeTaskMessage(taskMessage), 'own')
      },
      audit: (act) => chain.append(act),
      tell: (incident) => incidents.openIncident(incident, [EVERY_CHANNEL]),
    })
    const conditions = new MemoryConditions(conversations, clock)
    const liveness = new MemoryLiveness(clock)
    const deliveries = deliveriesOf(messages, conversations, chain, incidents, clock)
    const reservations = new ReservationRegistry({
      rows: new MemoryReservationRows(),
      conversations,
      clock,
      task: taskOrNull((id) => tasks.task(id)),
      audit: (act) => chain.append(act),
      tell: (to, key, draft) => conversations.isLive(to) && messages.sendOnce(partnerOf(to), key, draft),
    })
    this.#tables = {
      chain,
      acts: new RecordedActs({ chain, incidents, conversations }),
      conversations,
      workers,
      messages,
      deliveries,
      tasks,
      conditions,
      incidents,
      reservations,
      liveness,
    }
  }

  async hintCredentials(conversations: readonly string[]): Promise<void> {
    this.#demandOpen()
    this.#hints.give(conversations)
  }

  credentialHints(signal: AbortSignal): AsyncIterable<readonly string[]> {
    return this.#hints.heard(signal)
  }

  async admitWorker(admission: Admission): Promise<Worker> {
    this.#demandOpen()
    const worker = this.#tables.workers.admitWorker(admission)
    if (worker.conversation !== null) this.#speakers.forget(sessionId(worker.conversation, 'b'))
    return worker
  }

  async conversations(): Promise<Conversation[]> {
    this.#demandOpen()
    return this.#tables.conversations.live()
  }

  async send(from: SessionId, key: string, draft: MessageDraft): Promise<Message> {
    this.#demandOpen()
    checkSend(from, key, draft)
    const { conversations, messages, tasks, chain } = this.#tables
    const clean = cleanDraft(draft)
    const earlier = messages.repeated(from, key, clean)
    if (earlier?.[0] !== undefined) return earlier[0]
    conversations.demandLive(conversationOf(from))
    const message = messages.post({ to: partnerOf(from), writer: null }, clean)
    messages.remember(from, key, clean, [message])
    chain.append(sendAct(from, message))
    tasks.absorb(message)
    return message
  }

  async post(from: SessionId, to: Addressee, key: string, draft: MessageDraft): Promise<Message[]> {
    this.#demandOpen()
    checkSend(from, key, draft)
    const { conversations, messages, tasks, chain } = this.#tables
    const clean = cleanDraft(draft)
    const earlier = messages.repeated(from, key, clean, to)
    if (earlier !== null) return [...earlier]
    conversations.demandLive(conversationOf(from))
    const recipients = recipientsOf(from, to, conversations.live())
    checkPost(clean, recipients)
    const posted = recipients.map((recipient) => messages.post(recipient, clean))
    messages.remember(from, key, clean, posted, to)
    for (const message of posted) {
      chain.append(sendAct(from, message))
      tasks.absorb(message)
    }
    return posted
  }

  async listAgents(): Promise<FleetAgent[]> {
    this.#demandOpen()
    const { conversations, liveness } = this.#tables
    return allAgents(conversations.live(), liveness.verdicts().verdicts)
  }

  async unacked(reader: SessionId, after: number, limit: number): Promise<StoredMessage[]> {
    this.#demandOpen()
    parseSession(reader)
    return this.#tables.messages.unacked(reader, after, limit)
  }

  async waiting(reader: SessionId, after: number, limit: number): Promise<WaitingMessage[]> {
    this.#demandOpen()
    parseSession(reader)
    return this.#tables.messages.waiting(reader, after, limit)
  }

  async newest(): Promise<number> {
    this.#demandOpen()
    return this.#tables.messages.newest()
  }

  async *mail(reader: SessionId, after: number, signal: AbortSignal): AsyncGenerator<readonly StoredMessage[]> {
    parseSession(reader)
    yield* this.#follow(reader, after, signal, (cursor) => this.#tables.messages.unacked(reader, cursor, BATCH))
  }

  traffic(after: number, signal: AbortSignal): AsyncIterable<readonly StoredMessage[]> {
    return this.#follow('all', after, signal, (cursor) => this.#tables.messages.after(cursor, BATCH))
  }

  async mark(reader: SessionId, ids: readonly number[], mark: Mark): Promise<void> {
    this.#demandOpen()
    parseSession(reader)
    const { messages, chain } = this.#tables
    const moved = messages.mark(reader, ids, mark)
    if (mark !== 'acked' || moved.length === 0) return
    chain.append({ actor: reader, action: 'ack', details: { messages: moved } })
  }

  async beat(beats: readonly Beat[]): Promise<void> {
    this.#demandOpen()
    const { conversations, liveness } = this.#tables
    let refusal: S2Error | null = null
    for (const beat of beats) {
      if (!liveness.has(beat.session) && !conversations.isLive(beat.session)) continue
      const refused = this.#speakers.hear(beat, this.#clock.now())
      if (refused === null) liveness.take(beat)
      refusal ??= refused
    }
    for (const contest of this.#speakers.takeContests()) liveness.noteContest(contest)
    if (refusal !== null) throw refusal
  }

  async noteStatus(session: SessionId, status: SaidStatus): Promise<void> {
    this.#demandOpen()
    const { conversations, liveness } = this.#tables
    conversations.demandLive(conversationOf(session))
    liveness.noteStatus(session, status)
  }

  async leaseTask(
    holder: SessionId,
    incarnation: string,
    passing: readonly string[] = [],
    place?: string,
  ): Promise<Task | null> {
    this.#demandOpen()
    parseSession(holder)
    this.#speakers.demand(holder, place, this.#clock.now())
    const { tasks, liveness } = this.#tables
    const task = tasks.leaseTask(holder, incarnation, passing)
    if (task === null && passing.length === 0) liveness.noteAsked(holder, incarnation)
    return task
  }

  async judge(verdicts: Iterable<AgentVerdict>): Promise<void> {
    this.#demandOpen()
    const { liveness, chain } = this.#tables
    const before = new Map(liveness.verdicts().verdicts.map(({ agent, verdict }) => [agent, verdict]))
    liveness.judge(verdicts)
    const changes = changesOf(before, liveness.verdicts().verdicts)
    for (let at = 0; at < changes.length; at += CHANGES_IN_ENTRY) {
      chain.append(verdictsAct(changes.slice(at, at + CHANGES_IN_ENTRY)))
    }
  }

  async tend(): Promise<number> {
    this.#demandOpen()
    this.#tables.liveness.tick()
    return TEND_EVERY_MS
  }

  async prune(olderThanMs: number): Promise<number> {
    this.#demandOpen()
    const { deliveries, tasks, conditions, incidents, reservations } = this.#tables
    reservations.sweep()
    const time = this.#clock.wall() - olderThanMs
    deliveries.prune(time)
    return tasks.prune(time) + conditions.prune(time) + incidents.prune(time)
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
      else await this.#tables.messages.news(reader, ending.signal)
    }
  }

  /** Does what one table does alone. */
  async call<T>(act: (tables: Tables) => T): Promise<T> {
    this.#demandOpen()
    return act(this.#tables)
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
