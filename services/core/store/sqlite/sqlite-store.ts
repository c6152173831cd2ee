import { statSync } from 'node:fs'
import type { Beat, ObservedBeats } from '#fleet/beat.ts'
import type { Conversation } from '#fleet/conversation.ts'
import { isPassing, S2Error } from '#fleet/errors.ts'
import type { Incident, NewIncident } from '#fleet/incident.ts'
import {
  checkSend,
  cleanDraft,
  type Mark,
  type Message,
  type MessageDraft,
  type StoredMessage,
  type WaitingMessage,
} from '#fleet/message.ts'
import { type Addressee, allAgents, type FleetAgent } from '#fleet/peer-messages.ts'
import type { LastStatus, SaidStatus } from '#fleet/said-status.ts'
import { conversationOf, parseSession, type SessionId, sessionId } from '#fleet/session-id.ts'
import { Speakers } from '#fleet/speakers.ts'
import { databaseIncident, outcomeOfTrouble, presentIncident, type StoreTrouble } from '#fleet/store-trouble.ts'
import type { Report, Task } from '#fleet/task.ts'
import { type AgentVerdict, verdictsAct } from '#fleet/verdict.ts'
import type { Admission, Worker } from '#fleet/worker.ts'
import { LATE, type Late, waitAtMost } from '#runtime/bounded-wait.ts'
import { roughDuration } from '#runtime/duration.ts'
import { yieldToEvents } from '#runtime/yield-to-events.ts'
import { tableVerbs, type VerbTables } from '../delegate-to-tables.ts'
import { HintChannel } from '../hint-channel.ts'
import { currentRequest } from '../request-context.ts'
import type { Store, StoreParts } from '../store.ts'
import { ForeignRowSealer } from './audit/foreign-rows.ts'
import { Retention } from './audit/retention.ts'
import { watchCommits } from './changes/commit-watcher.ts'
import { MessageStream } from './changes/message-stream.ts'
import { NewMessageNotifier } from './changes/new-message-notifier.ts'
import { DatabaseWriter, LOCK_WAIT_MS } from './database-writer.ts'
import { waitingForLock } from './file/connection.ts'
import type { DatabasePath } from './file/database-path.ts'
import { modeBeside } from './file/shared-rights.ts'
import { isDamage } from './file/sqlite-errors.ts'
import { HeldRenewals } from './held-renewals.ts'
import { Beats } from './liveness/beats.ts'
import { KeptHistory } from './liveness/kept-history.ts'
import { LivenessFile } from './liveness/liveness-file.ts'
import { Verdicts } from './liveness/verdicts.ts'
import { LogWarning } from './log-warning.ts'
import { ForeignTaskMessages } from './python/foreign-task-messages.ts'
import { lastStatusIn } from './python/last-status.ts'
import { PythonBridgeSync } from './python/python-bridge-sync.ts'
import type { PythonReaders } from './python/python-readers.ts'
import { RightsWarning } from './rights-warning.ts'
import type { MalformedRows } from './tables/malformed-rows.ts'
import type { Tables, TablesSource } from './tables/tables.ts'

/** Verbs that ask one table of the database as it is now. */
const QUESTIONS = {
  tokens: 'conversations',
  workers: 'workers',
  publishedCredential: 'workers',
  joinRequests: 'workers',
  joinOutcome: 'workers',
  tasks: 'tasks',
  task: 'tasks',
  evidence: 'tasks',
  conditions: 'conditions',
  reservations: 'reservations',
  audit: 'chain',
  auditHead: 'chain',
  newest: 'messages',
  messageStatus: 'deliveries',
  deadLetters: 'deliveries',
} as const satisfies VerbTables<Tables>

/** Verbs that change the database through one table, in the group commit. */
const CHANGES = {
  openConversation: 'conversations',
  renewConversation: 'conversations',
  endConversation: 'conversations',
  rotateToken: 'conversations',
  inviteWorker: 'workers',
  issueTokens: 'workers',
  revokeWorker: 'workers',
  renameWorker: 'workers',
  notePublished: 'workers',
  confirmToken: 'workers',
  noteRefusal: 'workers',
  submitJoin: 'workers',
  settleJoin: 'workers',
  leaseMessages: 'deliveries',
  noteLeases: 'deliveries',
  giveUpMessages: 'deliveries',
  retryMessages: 'deliveries',
  dropMessages: 'deliveries',
  addTask: 'tasks',
  cancelTask: 'tasks',
  move: 'tasks',
  endTask: 'tasks',
  remindTask: 'tasks',
  noteCondition: 'conditions',
  reserveFiles: 'reservations',
  releaseFiles: 'reservations',
  noteUncheckedCommit: 'reservations',
  openIncident: 'incidents',
  closeIncident: 'incidents',
  retellIncident: 'incidents',
  claimAlerts: 'incidents',
  settleAlert: 'incidents',
  record: 'acts',
} as const satisfies VerbTables<Tables>

/** How long a round of upkeep waits for a database that is locked, milliseconds. */
const ROUND_MS = 250

type TableVerb = keyof typeof QUESTIONS | keyof typeof CHANGES

/** The tables beneath a store, for what is no verb of all stores. */
export interface TablesAccess {
  /** Asks the database as it is now, waiting while it is locked. */
  ask<T>(question: (tables: Tables) => T): Promise<T>
  /** Changes the database in the next group commit. */
  write<T>(verb: (tables: Tables) => T): Promise<T>
}

/** A store over an open database: what one table does alone, and what takes several parts. */
export function makeStore(
  databasePath: DatabasePath,
  parts: StoreParts,
  source: TablesSource,
  malformed: MalformedRows,
  pythonReaders: PythonReaders,
  mode: 'write' | 'read',
): SqliteStore & Store {
  const store = new SqliteStore(databasePath, parts, source, malformed, pythonReaders, mode)
  return Object.assign(
    store,
    tableVerbs(QUESTIONS, <T>(question: (tables: Tables) => T) => store.ask(question)),
    tableVerbs(CHANGES, <T>(change: (tables: Tables) => T) => store.write(change)),
  )
}

class SqliteStore implements Omit<Store, TableVerb>, TablesAccess {
  readonly #databasePath: DatabasePath
  readonly #parts: StoreParts
  readonly #source: TablesSource
  readonly #tail: NewMessageNotifier
  readonly #livenessFile: LivenessFile
  readonly #beats: Beats
  /** In memory: hosts speak to the bridge, and it is the one who has the store of this process. */
  readonly #speakers = new Speakers()
  readonly #verdicts: Verdicts
  /** Null in a store that only reads. */
  readonly #writer: DatabaseWriter | null
  readonly #taskMessages: ForeignTaskMessages | null
  readonly #pythonAgents: PythonBridgeSync | null
  readonly #foreignRows: ForeignRowSealer | null
  readonly #retention: Retention | null
  readonly #renewals: HeldRenewals | null
  readonly #malformed: MalformedRows
  readonly #logWarning: LogWarning | null
  readonly #rightsWarning: RightsWarning
  /** Hints reach this process alone: hosts are linked to the bridge, and so is the store that hints. */
  readonly #hints = new HintChannel()
  readonly #closing = new AbortController()
  readonly #keptHistory: KeptHistory | null
  #foreignRound: Promise<number> | undefined
  #trouble: StoreTrouble | null = null
  readonly #endedTroubles: { readonly incident: NewIncident; readonly since: number; readonly outcome: string }[] = []

  constructor(
    databasePath: DatabasePath,
    parts: StoreParts,
    source: TablesSource,
    malformed: MalformedRows,
    pythonReaders: PythonReaders,
    mode: 'write' | 'read',
  ) {
    const { path } = databasePath
    const { clock, chance, log } = parts
    this.#databasePath = databasePath
    this.#parts = parts
    this.#source = source
    this.#malformed = malformed
    this.#tail = new NewMessageNotifier(source, (tail) =>
      watchCommits(
        path,
        { read: () => tail.read(), look: () => tail.look(), quiet: () => tail.isQuiet(), warm: () => tail.warm() },
        parts,
      ),
    )
    const fileMode = (): number => modeBeside(statSync(path, { throwIfNoEntry: false })?.mode ?? 0o600)
    const fileParts = { clock, chance, log, mode, lockWaitMs: LOCK_WAIT_MS, fileMode }
    this.#livenessFile = new LivenessFile(databasePath.liveness, fileParts)
    const isKnown = (session: SessionId): boolean =>
      source.current()?.conversations.isLive(conversationOf(session)) ?? false
    this.#beats = new Beats(this.#livenessFile, { clock, log, speakers: this.#speakers, pythonReaders, isKnown })
    this.#verdicts = new Verdicts(this.#livenessFile, clock)
    this.#writer = mode === 'read' ? null : new DatabaseWriter(databasePath, parts, source, this.#tail)
    this.#keptHistory = this.#writer === null ? null : new KeptHistory(this.#livenessFile, this.#writer.history, clock)
    this.#taskMessages = this.#writer === null ? null : new ForeignTaskMessages(this.#writer.tables, malformed)
    this.#pythonAgents =
      this.#writer === null || this.#taskMessages === null
        ? null
        : new PythonBridgeSync(this.#writer, this.#livenessFile, this.#beats, parts, malformed, this.#taskMessages)
    this.#foreignRows = this.#writer === null ? null : new ForeignRowSealer(this.#writer, clock)
    this.#retention = this.#writer === null ? null : new Retention(databasePath, this.#writer)
    this.#renewals = this.#writer === null ? null : new HeldRenewals(this.#writer)
    this.#rightsWarning = new RightsWarning(databasePath, parts)
    this.#logWarning = this.#writer === null ? null : new LogWarning(path, this.#writer, parts)
  }

  /** Goes on from where S2 last saw the database, before anything else is written. */
  async begin(): Promise<void> {
    const { log } = this.#parts
    if (this.#writer === null) return
    const { history } = this.#writer
    const mark = (await this.#keptHistory?.read(log)) ?? null
    await this.write(() => history.begin(mark))
    await this.#keptHistory?.keepLast().catch((error: unknown) => log.warn('end of the database not kept', { error }))
  }

  async conversations(): Promise<Conversation[]> {
    while (await this.ask(({ conversations }) => conversations.reloadStep())) await yieldToEvents()
    return await this.ask(({ conversations }) => conversations.live())
  }

  async admitWorker(admission: Admission): Promise<Worker> {
    const worker = await this.write(({ workers }) => workers.admitWorker(admission))
    if (worker.conversation !== null) this.#speakers.forget(sessionId(worker.conversation, 'b'))
    return worker
  }

  async hintCredentials(conversations: readonly string[]): Promise<void> {
    this.#demandOpen()
    this.#hints.give(conversations)
  }

  credentialHints(signal: AbortSignal): AsyncIterable<readonly string[]> {
    return this.#hints.heard(signal)
  }

  async send(from: SessionId, key: string, draft: MessageDraft): Promise<Message> {
    checkSend(from, key, draft)
    const clean = cleanDraft(draft)
    return this.write(({ messages, tasks }) => {
      const { message, isNew } = messages.send(from, key, clean)
      if (isNew) tasks.absorb(message)
      return message
    })
  }

  async post(from: SessionId, to: Addressee, key: string, draft: MessageDraft): Promise<Message[]> {
    checkSend(from, key, draft)
    const clean = cleanDraft(draft)
    return this.write(({ messages, tasks }) => {
      const posted = messages.sendToPeers(from, to, key, clean)
      if (posted.isNew) for (const message of posted.messages) tasks.absorb(message)
      return [...posted.messages]
    })
  }

  async listAgents(): Promise<FleetAgent[]> {
    return allAgents(await this.conversations(), (await this.verdicts()).verdicts)
  }

  async waiting(reader: SessionId, after: number, limit: number): Promise<WaitingMessage[]> {
    parseSession(reader)
    return this.ask(({ messages }) => messages.waiting(reader, after, limit))
  }

  async unacked(reader: SessionId, after: number, limit: number): Promise<StoredMessage[]> {
    parseSession(reader)
    const { messages } = await this.ask(({ messages }) => messages.unacked(reader, after, limit))
    return [...messages]
  }

  mail(reader: SessionId, after: number, signal: AbortSignal): AsyncIterable<readonly StoredMessage[]> {
    return this.#stream(reader, after, signal)
  }

  traffic(after: number, signal: AbortSignal): AsyncIterable<readonly StoredMessage[]> {
    return this.#stream('all', after, signal)
  }

  async mark(reader: SessionId, ids: readonly number[], mark: Mark): Promise<void> {
    parseSession(reader)
    await this.write(({ messages }) => messages.mark(reader, ids, mark))
  }

  async beat(beats: readonly Beat[]): Promise<void> {
    this.#demandWriter()
    const refusal = await this.ask(() => this.#beats.take(beats))
    if (refusal !== null) throw refusal
  }

  pulses(after: number): Promise<ObservedBeats> {
    return this.#beats.pulses(after)
  }

  async noteStatus(session: SessionId, status: SaidStatus): Promise<void> {
    parseSession(session)
    this.#demandWriter()
    await this.#pythonAgents?.noteStatus(session, status)
  }

  async lastStatus(session: SessionId): Promise<LastStatus | null> {
    parseSession(session)
    return await this.ask(({ connection }) => lastStatusIn(connection, session))
  }

  async leaseTask(
    holder: SessionId,
    incarnation: string,
    passing: readonly string[] = [],
    place?: string,
  ): Promise<Task | null> {
    parseSession(holder)
    this.#speakers.demand(holder, place, this.#parts.clock.now())
    const task = await this.write(({ tasks }) => {
      this.#taskMessages?.takeInAll() // whoever asks may have read the message that gives it a task
      return tasks.leaseTask(holder, incarnation, passing)
    })
    if (task === null && passing.length === 0) this.#beats.noteAsked(holder, incarnation)
    return task
  }

  async report(holder: SessionId, report: Report): Promise<Task> {
    const held = this.#renewals
    if (held?.wants(report) === true) return this.ask(() => held.take(holder, report))
    const outcome = await this.write(({ tasks }) => {
      this.#taskMessages?.takeInAll() // the same: its giver may have withdrawn the task
      return tasks.report(holder, report)
    })
    if (outcome instanceof S2Error) throw outcome // what came too late is kept, and that is committed by now
    return outcome
  }

  async judge(verdicts: Iterable<AgentVerdict>): Promise<void> {
    this.#demandWriter()
    await this.#verdicts.judge(verdicts, (changes) => this.write(({ chain }) => chain.append(verdictsAct(changes))))
  }

  verdicts(): Promise<{ readonly at: number | null; readonly verdicts: readonly AgentVerdict[] }> {
    return this.#verdicts.verdicts()
  }

  async incidents(filter: { readonly open: boolean }): Promise<Incident[]> {
    const kept = await this.ask(({ incidents }) => incidents.incidents(filter))
    return this.#trouble === null ? kept : [...kept, presentIncident(this.#trouble)]
  }

  /** That beats are collected is said before anything that waits for the database. */
  async tend(): Promise<number> {
    const writer = this.#demandWriter()
    const refusal = this.#source.look()
    if (refusal !== null) throw refusal
    writer.tend()
    this.#noteTrouble(writer)
    this.#logWarning?.look()
    this.#rightsWarning.look()
    await this.#beats.tick(this.#trouble)
    await this.#keptHistory?.keep()
    await this.#renewals?.write()
    await this.ask(({ conversations }) => conversations.reloadStep())
    return await this.#tendForeign(writer)
  }

  /** Tells what keeps the database from being written to, once, and keeps it among the incidents when it is over. */
  #noteTrouble(writer: DatabaseWriter): void {
    const before = this.#trouble
    this.#trouble = writer.trouble()
    if (before?.message === this.#trouble?.message) return
    this.#parts.onTrouble?.(this.#trouble)
    if (before !== null && before.kind !== this.#trouble?.kind) {
      const outcome = outcomeOfTrouble(this.#trouble, roughDuration(this.#parts.clock.wall() - before.since))
      this.#endedTroubles.push({ incident: databaseIncident(before), since: before.since, outcome })
    }
    if (this.#trouble === null) this.#keepEndedTroubles()
  }

  /** One trouble may have followed another: while either lasts nothing can be written. */
  #keepEndedTroubles(): void {
    const ended = this.#endedTroubles.splice(0)
    const kept = this.write(({ incidents }) => {
      for (const { incident, since, outcome } of ended) incidents.noteEnded(incident, since, outcome)
    })
    kept.catch((error: unknown) => this.#parts.log.warn('trouble of the database not kept', { error }))
  }

  /**
   * Takes in what foreign writers did. Where that cannot be written down, it goes on beside the next rounds, and what fails for
   * this reason is tried again: it is told already.
   */
  async #tendForeign(writer: DatabaseWriter): Promise<number> {
    this.#foreignRound ??= this.#takeForeign()
    try {
      let waitMs: number | Late
      do waitMs = await waitAtMost(this.#foreignRound, ROUND_MS, this.#parts.clock)
      while (waitMs === LATE && !writer.isHindered)
      if (waitMs === LATE) return 0
      this.#foreignRound = undefined
      return waitMs
    } catch (error) {
      this.#foreignRound = undefined
      if (isPassing(error) && writer.isHindered) return ROUND_MS
      throw error
    }
  }

  async #takeForeign(): Promise<number> {
    await this.#logWarning?.tell()
    await this.#foreignRows?.tend()
    return (await this.#pythonAgents?.tend()) ?? ROUND_MS
  }

  async prune(olderThanMs: number): Promise<number> {
    const time = this.#parts.clock.wall() - olderThanMs
    const forgotten = await this.write(
      ({ conversations, messages, deliveries, tasks, conditions, incidents, reservations }) => {
        conversations.prune()
        deliveries.prune(time)
        reservations.sweep()
        return messages.prune() + tasks.prune(time) + conditions.prune(time) + incidents.prune(time)
      },
    )
    return forgotten + ((await this.#retention?.prune(time)) ?? 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    this.#hints[Symbol.dispose]()
    this.#tail[Symbol.dispose]()
    await this.#writer?.groupCommit.close()
    await this.#foreignRound?.catch(() => undefined)
    await this.#beats[Symbol.asyncDispose]()
    await this.#keptHistory?.keepLast().catch(() => undefined) // what was kept before holds too
    this.#livenessFile[Symbol.dispose]()
    this.#writer?.[Symbol.dispose]()
    await this.#source.settle()
    this.#source[Symbol.dispose]()
    this.#malformed.sumUp()
  }

  ask<T>(question: (tables: Tables) => T): Promise<T> {
    const act = (): T => {
      this.#demandOpen()
      const tables = this.#source.demand()
      try {
        return question(tables)
      } catch (error) {
        throw (isDamage(error) ? this.#source.look() : null) ?? error
      }
    }
    return waitingForLock(act, this.#databasePath.path, { ...this.#parts, boundMs: LOCK_WAIT_MS })
  }

  async write<T>(verb: (tables: Tables) => T): Promise<T> {
    const { groupCommit, tables } = this.#demandWriter()
    const request = currentRequest() ?? { id: null, since: this.#parts.clock.now() }
    return groupCommit.write(() => tables.chain.within(request, () => verb(tables)))
  }

  #stream(reader: SessionId | 'all', after: number, signal: AbortSignal): MessageStream {
    return new MessageStream(reader, after, signal, {
      path: this.#databasePath.path,
      log: this.#parts.log,
      source: this.#source,
      tail: this.#tail,
      closing: this.#closing.signal,
      ask: (question) => this.ask(question),
    })
  }

  #demandOpen(): void {
    if (this.#closing.signal.aborted) throw new S2Error('unavailable', `the store ${this.#databasePath.path} is closed`)
  }

  #demandWriter(): DatabaseWriter {
    this.#demandOpen()
    if (this.#writer !== null) return this.#writer
    throw new S2Error('forbidden', `${this.#databasePath.path} was opened for reading only`, {
      next: 'ask the bridge to do it',
    })
  }
}
