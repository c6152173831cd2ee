import { chmodSync, statSync } from 'node:fs'
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
import { conversationOf, parseSession, type SessionId } from '#fleet/session.ts'
import { checkTask, type Move, type NewTask, type Report, type Task } from '#fleet/task.ts'
import type { AgentVerdict } from '#fleet/verdict.ts'
import { HintChannel } from '../hint-channel.ts'
import type { LateReport, Store, StoreParts, TaskFilter } from '../store.ts'
import { watchCommits } from './changes/commit-watcher.ts'
import { Doorbell } from './changes/doorbell.ts'
import { MessageTail } from './changes/message-tail.ts'
import { ReopeningReader } from './changes/reopening-reader.ts'
import { Checkpoints } from './file/checkpoints.ts'
import { prepare, SqliteConnection, waitingForLock } from './file/connection.ts'
import {
  type DatabasePath,
  databasePathOf,
  demandLocalDisk,
  identify,
  isSameFile,
  logBytes,
  makeDatabasePath,
} from './file/database-path.ts'
import { GroupCommit } from './file/group-commit.ts'
import { inspectSchema, migrate } from './file/schema.ts'
import { corrupt, refusalOf } from './file/sqlite-errors.ts'
import { yieldToEvents } from './file/yield.ts'
import { PythonAgents } from './python/python-agents.ts'
import { readChain } from './tables/audit-chain.ts'
import { LivenessFile } from './tables/liveness.ts'
import { MalformedRows } from './tables/malformed-rows.ts'
import type { MessageBatch } from './tables/messages.ts'
import { birthmarkOf, openTables, type Tables, type TablesSource } from './tables/tables.ts'

/** How long a verb waits for a database that another process has locked, milliseconds. */
const PATIENCE_MS = 5000
/** Messages handed out in one go. */
const BATCH = 256
/** Bytes a millisecond that the slowest of disks reads or writes. */
const SLOWEST = 2_000

/**
 * Opens the fleet in a SQLite database that the Python bridge may share. In mode `write` the file is made and brought up to
 * date where needed, and refused where it is not ours to write. Mode `read` makes and writes nothing, refuses verbs that
 * write, and waits for a database that is not there yet; it wants the right to write all the same, for readers of a
 * write-ahead log share their locks through a file beside it. Throws `S2Error`: `invalid` (no database of ours),
 * `forbidden`, `unavailable`.
 */
export async function openSqliteStore(
  path: string,
  parts: StoreParts,
  mode: 'write' | 'read' = 'write',
): Promise<Store> {
  const oddities = new MalformedRows(parts.log)
  if (mode === 'write') {
    const databasePath = await makeDatabasePath(path)
    const source = await openForWriting(databasePath, parts, oddities)
    try {
      return new SqliteStore(databasePath, parts, source, oddities, mode)
    } catch (error) {
      source[Symbol.dispose]()
      throw refusalOf(error, databasePath.path)
    }
  }
  const databasePath = await databasePathOf(path)
  if (identify(databasePath.folder) !== null) demandLocalDisk(databasePath)
  const reader = new ReopeningReader(databasePath.path, { clock: parts.clock, log: parts.log, oddities })
  await waitingForLock(() => reader.look(), databasePath.path, { ...parts, boundMs: PATIENCE_MS })
  return new SqliteStore(databasePath, parts, reader, oddities, mode)
}

async function openForWriting(
  { path }: DatabasePath,
  parts: StoreParts,
  oddities: MalformedRows,
): Promise<TablesSource> {
  const isNew = identify(path) === null
  if (isNew && logBytes(path) > 0) throw orphanedLog(path)
  const retry = <T>(act: () => T): Promise<T> => waitingForLock(act, path, { ...parts, boundMs: PATIENCE_MS })
  const connection = await retry(() => new SqliteConnection(path, { create: true }))
  try {
    if (isNew) chmodSync(path, 0o600) // it holds tokens; its -wal and -shm take after it
    await retry(() => inspectSchema(connection, path))
    const goesThrough = (what: string): void => parts.onLong?.(what, bytesOf(path) / SLOWEST)
    goesThrough('checking the database')
    await retry(() => demandSound(connection, path))
    await retry(() => prepare(connection, 'FULL', 'make'))
    await retry(() => migrate(connection, path, parts.clock.wall(), (step) => goesThrough(`changing tables: ${step}`)))
  } catch (error) {
    connection[Symbol.dispose]()
    throw error
  }
  const file = identify(path)
  if (file === null) throw replaced(path)
  const tables = openTables(connection, file, parts.clock, oddities)
  return { current: () => tables, demand: () => tables, [Symbol.dispose]: () => connection[Symbol.dispose]() }
}

/** SQLite throws away a log whose database is missing, and with it what was committed last. */
function orphanedLog(path: string): S2Error {
  return new S2Error('unavailable', `${path} is missing, but its log ${path}-wal is there and may hold messages`, {
    next: `put ${path} back; or, to begin with nothing, move ${path}-wal and ${path}-shm away`,
  })
}

function replaced(path: string): S2Error {
  return new S2Error('unavailable', `${path} was removed or replaced while it was open`, {
    next: 'start the program again; whoever restores a backup stops the programs first',
  })
}

function bytesOf(path: string): number {
  return (statSync(path, { throwIfNoEntry: false })?.size ?? 0) + logBytes(path)
}

function demandSound(connection: SqliteConnection, path: string): void {
  const found = connection.pragma('quick_check(1)')
  if (found !== 'ok') throw corrupt(path, found)
}

class SqliteStore implements Store {
  readonly #databasePath: DatabasePath
  readonly #parts: StoreParts
  readonly #source: TablesSource
  readonly #tail: MessageTail
  readonly #liveness: LivenessFile
  /** What only a store that writes has. */
  readonly #hand: Hand | null
  /** Of this process alone: those who listen for distant hosts do so in the bridge, and so is it asked. */
  readonly #hints = new HintChannel()
  readonly #closing = new AbortController()

  constructor(
    databasePath: DatabasePath,
    parts: StoreParts,
    source: TablesSource,
    oddities: MalformedRows,
    mode: 'write' | 'read',
  ) {
    this.#databasePath = databasePath
    this.#parts = parts
    this.#source = source
    this.#tail = new MessageTail(
      () => (this.#closing.signal.aborted ? null : (source.current()?.connection ?? null)),
      (tail) => watchCommits(databasePath.path, { read: () => tail.read(), quiet: () => tail.isQuiet() }, parts),
    )
    this.#liveness = new LivenessFile(databasePath.liveness, {
      clock: parts.clock,
      chance: parts.chance,
      log: parts.log,
      mode,
      patienceMs: PATIENCE_MS,
      fileMode: () => statSync(databasePath.path).mode & 0o666,
      isKnown: (session) => source.current()?.conversations.isLive(conversationOf(session)) ?? false,
    })
    this.#hand =
      mode === 'read' ? null : makeHand(databasePath, parts, source.demand(), this.#tail, this.#liveness, oddities)
  }

  openConversation(wanted: NewConversation): Promise<OpenedConversation> {
    return this.#write(({ conversations, chain }) => {
      const opened = conversations.open(wanted)
      chain.append({
        actor: 'admin',
        action: 'conversation_opened',
        details: { conversation: opened.id, agents: wanted.agents },
      })
      return opened
    })
  }

  async conversations(): Promise<Conversation[]> {
    while (await this.#ask(({ conversations }) => conversations.sweep())) await yieldToEvents()
    return await this.#ask(({ conversations }) => conversations.live())
  }

  renewConversation(id: string, lifetimeMs: number): Promise<Conversation> {
    return this.#write(({ conversations, chain }) => {
      const renewed = conversations.renew(id, lifetimeMs)
      chain.append({
        actor: 'admin',
        action: 'conversation_renewed',
        details: { conversation: id, expiresAt: renewed.expiresAt },
      })
      return renewed
    })
  }

  endConversation(id: string): Promise<void> {
    return this.#write(({ conversations, chain }) => {
      if (conversations.end(id))
        chain.append({ actor: 'admin', action: 'conversation_ended', details: { conversation: id } })
    })
  }

  tokens(session: SessionId): Promise<readonly string[]> {
    return this.#ask(({ conversations }) => conversations.tokens(session))
  }

  rotateToken(session: SessionId, overlapMs: number): Promise<string> {
    return this.#write(({ conversations, chain }) => {
      const token = conversations.rotate(session, overlapMs)
      chain.append({ actor: 'admin', action: 'token_rotated', details: { session, overlapMs } })
      return token
    })
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
    return this.#write(({ messages, tasks }) => {
      const { message, isNew } = messages.send(from, key, clean)
      if (isNew) tasks.absorb(message)
      return message
    })
  }

  async unacked(reader: SessionId, after: number, limit: number): Promise<StoredMessage[]> {
    parseSession(reader)
    const { messages } = await this.#ask(({ messages }) => messages.unacked(reader, after, limit))
    return [...messages]
  }

  async *mail(reader: SessionId, after: number, signal: AbortSignal): AsyncGenerator<StoredMessage> {
    parseSession(reader)
    const question = ({ messages }: Tables, cursor: number): MessageBatch => messages.unacked(reader, cursor, BATCH)
    for await (const batch of this.#follow(reader, after, signal, question)) {
      for (const message of batch) {
        if (signal.aborted) return
        yield message
      }
    }
  }

  traffic(after: number, signal: AbortSignal): AsyncIterable<readonly StoredMessage[]> {
    return this.#follow('all', after, signal, ({ messages }, cursor) => messages.all(cursor, BATCH))
  }

  async mark(reader: SessionId, ids: readonly number[], mark: Mark): Promise<void> {
    parseSession(reader)
    await this.#write(({ messages }) => messages.mark(reader, ids, mark))
  }

  async beat(beats: readonly Beat[]): Promise<void> {
    this.#demandHand()
    await this.#ask(() => this.#liveness.take(beats))
  }

  pulses(after: number): Promise<ObservedBeats> {
    return this.#liveness.pulses(after)
  }

  async addTask(task: NewTask): Promise<Task> {
    checkTask(task)
    if (task.createdBy !== null) parseSession(task.createdBy)
    return this.#write(({ tasks }) => tasks.add(task))
  }

  tasks(filter: TaskFilter): Promise<Task[]> {
    return this.#ask(({ tasks }) => tasks.list(filter))
  }

  task(id: string): Promise<Task> {
    return this.#ask(({ tasks }) => tasks.demand(id))
  }

  async leaseTask(holder: SessionId, incarnation: string): Promise<Task | null> {
    parseSession(holder)
    return this.#write(({ tasks }) => tasks.lease(holder, incarnation))
  }

  async report(holder: SessionId, report: Report): Promise<Task> {
    const outcome = await this.#write(({ tasks }) => tasks.report(holder, report))
    if (outcome instanceof S2Error) throw outcome // what came too late is kept, and that is committed by now
    return outcome
  }

  cancelTask(id: string): Promise<Task> {
    return this.#write(({ tasks }) => tasks.cancel(id))
  }

  move(move: Move): Promise<boolean> {
    return this.#write(({ tasks }) => tasks.move(move))
  }

  evidence(task: string): Promise<LateReport[]> {
    return this.#ask(({ tasks }) => tasks.evidence(task))
  }

  openIncident(incident: NewIncident, channels: readonly string[]): Promise<boolean> {
    return this.#write(({ incidents }) => incidents.open(incident, channels))
  }

  closeIncident(cause: string, channels: readonly string[]): Promise<boolean> {
    return this.#write(({ incidents }) => incidents.close(cause, channels))
  }

  incidents(filter: { readonly open: boolean }): Promise<Incident[]> {
    return this.#ask(({ incidents }) => incidents.list(filter))
  }

  claimAlerts(channels: readonly string[], leaseMs: number): Promise<Alert[]> {
    return this.#write(({ incidents }) => incidents.claim(channels, leaseMs))
  }

  settleAlert(alert: Alert, outcome: 'told' | { readonly retryMs: number }): Promise<void> {
    return this.#write(({ incidents }) => incidents.settle(alert, outcome))
  }

  async judge(verdicts: Iterable<AgentVerdict>): Promise<void> {
    this.#demandHand()
    await this.#liveness.judge(verdicts)
  }

  verdicts(): Promise<{ readonly at: number | null; readonly verdicts: readonly AgentVerdict[] }> {
    return this.#liveness.verdicts()
  }

  async tend(): Promise<number> {
    const { doorbell, checkpoints, foreign } = this.#demandHand()
    doorbell.mend()
    checkpoints.mind()
    await this.#ask(({ conversations }) => conversations.sweep())
    await this.#liveness.tick()
    return foreign.tend()
  }

  audit(after: number, limit: number): Promise<AuditEntry[]> {
    return this.#ask(({ connection }) => readChain(connection, after, limit))
  }

  /** Delivery records end with our ack; keys of messages stay for ever, as a repetition may come after any time. */
  prune(olderThanMs: number): Promise<number> {
    return this.#write(({ conversations, messages, tasks, incidents }) => {
      const time = this.#parts.clock.wall() - olderThanMs
      conversations.prune()
      return messages.prune() + tasks.prune(time) + incidents.prune(time)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    this.#hints[Symbol.dispose]()
    this.#tail[Symbol.dispose]()
    await this.#hand?.groupCommit.close()
    await this.#liveness[Symbol.asyncDispose]()
    this.#hand?.[Symbol.dispose]()
    this.#source[Symbol.dispose]()
  }

  /** Puts a question to the database as it is now, waiting while it is locked. */
  #ask<T>(question: (tables: Tables) => T): Promise<T> {
    const act = (): T => {
      this.#demandOpen()
      return question(this.#source.demand())
    }
    return waitingForLock(act, this.#databasePath.path, { ...this.#parts, boundMs: PATIENCE_MS })
  }

  async #write<T>(verb: (tables: Tables) => T): Promise<T> {
    const { groupCommit, tables } = this.#demandHand()
    return groupCommit.write(() => verb(tables))
  }

  #demandOpen(): void {
    if (this.#closing.signal.aborted) throw new S2Error('unavailable', `the store ${this.#databasePath.path} is closed`)
  }

  #demandHand(): Hand {
    this.#demandOpen()
    if (this.#hand !== null) return this.#hand
    throw new S2Error('forbidden', `${this.#databasePath.path} was opened for reading only`, {
      next: 'ask the bridge to do it',
    })
  }

  /** Asks whenever the tail rings, from where the last answer ended, and hands out what has come. */
  async *#follow(
    reader: SessionId | 'all',
    after: number,
    signal: AbortSignal,
    question: (tables: Tables, cursor: number) => MessageBatch,
  ): AsyncGenerator<readonly StoredMessage[]> {
    if (signal.aborted || this.#closing.signal.aborted) return
    using ear = this.#tail.listen(reader)
    const stop = (): void => ear[Symbol.dispose]()
    signal.addEventListener('abort', stop, { once: true })
    try {
      let met: Met | null = null
      let cursor = after
      while (await ear.rung()) {
        for (let isMore = true; isMore && !signal.aborted; ) {
          if (this.#closing.signal.aborted) return
          if (this.#source.current() === null) break // rung again when there is a database
          const batch: MessageBatch = await this.#ask((tables) => {
            if (met?.tables !== tables) {
              const now: Met = { tables, mark: birthmarkOf(tables) }
              cursor = this.#resume(met, now, cursor)
              met = now
            }
            return question(tables, cursor)
          })
          cursor = batch.last
          isMore = batch.isFull
          if (batch.messages.length > 0 && !signal.aborted) yield batch.messages
          if (isMore) await yieldToEvents() // a long history must not keep the event loop to itself
        }
      }
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }

  /** Where to go on in a database that took the place of another: ids of an unrelated one begin anew. */
  #resume(before: Met | null, now: Met, cursor: number): number {
    if (before === null || isSameFile(before.tables.file, now.tables.file)) return cursor
    if (before.mark !== null && before.mark === now.mark && now.tables.messages.newest() >= cursor) return cursor
    this.#parts.log.warn('another database is in its place: its messages are read from the beginning', {
      path: this.#databasePath.path,
    })
    return 0
  }
}

/** The rooms that a listener met last. */
interface Met {
  readonly tables: Tables
  readonly mark: string | null
}

/** What it takes to write. */
interface Hand extends Disposable {
  readonly tables: Tables
  readonly groupCommit: GroupCommit
  readonly doorbell: Doorbell
  readonly checkpoints: Checkpoints
  readonly foreign: PythonAgents
}

function makeHand(
  { path, bell: bellPath }: DatabasePath,
  parts: StoreParts,
  tables: Tables,
  tail: MessageTail,
  liveness: LivenessFile,
  oddities: MalformedRows,
): Hand {
  const closing = new AbortController()
  const doorbell = new Doorbell(bellPath, statSync(path).mode & 0o666)
  const checkpoints = new Checkpoints(tables.connection, path, {
    clock: parts.clock,
    signal: closing.signal,
    onError: (error) => parts.log.warn('the log of the database cannot be carried over', { path, error }),
  })
  const groupCommit = new GroupCommit(tables.connection, path, {
    clock: parts.clock,
    chance: parts.chance,
    patienceMs: PATIENCE_MS,
    demandFile: () => {
      if (!isSameFile(identify(path), tables.file)) throw replaced(path)
    },
    onBegin: () => tables.chain.forgetHead(),
    onCommit: () => {
      doorbell.ring()
      tail.read()
      checkpoints.mind()
    },
    onBroken: (error) => {
      parts.log.error('the store is broken', { error })
      parts.onBroken?.(error)
    },
  })
  const foreign = new PythonAgents(tables, groupCommit, liveness, parts, oddities)
  return {
    tables,
    groupCommit,
    doorbell,
    checkpoints,
    foreign,
    [Symbol.dispose]: () => {
      closing.abort()
      doorbell[Symbol.dispose]()
    },
  }
}
