/** The message database: what was answered is there, whole, and in the audit chain. */
import { spawn } from 'node:child_process'
import { hash } from 'node:crypto'
import { closeSync, existsSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { NewTask } from '#fleet/task.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { checkIntegrity } from '#store/sqlite/backup/integrity-check.ts'
import { SqliteConnection } from '#store/sqlite/file/connection.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import type { Store } from '#store/store.ts'
import { Neighbour, noPython, openChannel } from '../../core/store/sqlite-ground.ts'
import type { Scenario, Tell } from '../scenario.ts'

export const DATABASE = 'bridge.db'
export const storeParts = () => ({ clock: systemClock, chance: systemChance, log: recordingLog() })

export async function openAt(root: string): Promise<Store> {
  return await openSqliteStore(join(root, DATABASE), storeParts())
}

/** Lays a database with one channel, closed. */
export async function layChannel(root: string): Promise<void> {
  await using store = await openAt(root)
  await openChannel(store)
}

/** The orchestrator's end of the one channel. */
export async function senderIn(store: Store): Promise<SessionId> {
  const [conversation] = await store.conversations()
  return `${conversation?.id}/a` as SessionId
}

/** What a database holds, as far as scenarios tell of it. */
export interface Contents {
  readonly texts: readonly string[]
  /** Ids of tasks with their states. */
  readonly tasks: Readonly<Record<string, string>>
  readonly incidents: readonly string[]
  readonly actions: readonly string[]
  /** A sentence for each verb that is there in parts only. */
  readonly halves: readonly string[]
}

/** Reads a database that nobody has open. Throws where it is damaged, or where its chain is broken. */
export function contentsOf(path: string): Contents {
  using connection = new SqliteConnection(path, { create: false })
  checkIntegrity(connection, path)
  const column = <T>(sql: string): T[] => connection.all<{ value: T }>(sql).map(({ value }) => value)
  const sent = column<number>('SELECT message AS value FROM s2_sends')
  const audited = (action: string, field: string): (string | number)[] =>
    column(`SELECT details ->> '${field}' AS value FROM s2_audit WHERE action = '${action}'`)
  const tasks = connection.all<{ id: string; state: string }>('SELECT id, state FROM s2_tasks')
  const incidents = column<string>('SELECT cause AS value FROM s2_incidents')
  const messages = column<number>('SELECT id AS value FROM messages')
  return {
    texts: column<string>('SELECT message AS value FROM messages ORDER BY id'),
    tasks: Object.fromEntries(tasks.map(({ id, state }) => [id, state])),
    incidents,
    actions: column<string>('SELECT action AS value FROM s2_audit ORDER BY seq'),
    halves: [
      ...differing('sends', sent, 'entries of them', audited('send', 'message')),
      ...differing(
        'tasks',
        tasks.map(({ id }) => id),
        'entries of them',
        audited('task_added', 'task'),
      ),
      ...differing('incidents', incidents, 'entries of them', audited('incident_opened', 'cause')),
      ...sent.filter((id) => !messages.includes(id)).map((id) => `a send is there, and its message ${id} is not`),
    ],
  }
}

type Ids = readonly (string | number)[]

function differing(what: string, ones: Ids, other: string, others: Ids): string[] {
  const sorted = [ones, others].map((each) => [...each].sort().join(' '))
  return sorted[0] === sorted[1] ? [] : [`${what}: ${sorted[0]}, but ${other}: ${sorted[1]}`]
}

/** SQLite recovers the log into the database; answers a digest of what that came to. */
function recover(root: string): string {
  const path = join(root, DATABASE)
  if (!existsSync(path)) return 'none'
  const database = new Database(path, { timeout: 0, fileMustExist: true })
  try {
    database.pragma('locking_mode = EXCLUSIVE')
    database.pragma('user_version')
  } finally {
    database.close()
  }
  return hash('sha1', contentAt(path), 'base64')
}

const buffer = Buffer.alloc(1024 * 1024)

/** Good until the next call. */
function contentAt(path: string): Buffer {
  const file = openSync(path, 'r')
  try {
    return buffer.subarray(0, readSync(file, buffer))
  } finally {
    closeSync(file)
  }
}

export type StoreWord =
  | { readonly sent: string }
  | { readonly task: string; readonly state: string }
  | { readonly incident: string }

/** What was told and is not there. */
function lackOf({ texts, tasks, incidents, halves }: Contents, told: readonly StoreWord[]): string[] {
  const there = new Set(texts)
  const states = new Map(told.flatMap((word) => ('task' in word ? [[word.task, word.state] as const] : [])))
  const lost = told.flatMap((word) => {
    if ('sent' in word) return there.has(word.sent) ? [] : [`${word.sent} was sent, and is lost`]
    if ('incident' in word) return incidents.includes(word.incident) ? [] : [`the incident ${word.incident} is lost`]
    return []
  })
  const undone = [...states].filter(([id, state]) => ORDER.indexOf(tasks[id] ?? '') < ORDER.indexOf(state))
  return [...lost, ...undone.map(([id, state]) => `task ${id} was ${state}, and is ${tasks[id] ?? 'lost'}`), ...halves]
}

const ORDER = ['assigned', 'accepted', 'completed']

/** The store opens, and whatever was sent is sent again with nothing doubled. */
async function sendAgain(root: string, told: readonly StoreWord[]): Promise<string[]> {
  await using store = await openAt(root)
  const from = await senderIn(store)
  const texts = told.flatMap((word) => ('sent' in word ? [word.sent] : []))
  const before = await store.unacked(from.replace(/a$/, 'b') as SessionId, 0, 1_000)
  await Promise.all(texts.map((text) => store.send(from, text, { text })))
  const after = await store.unacked(from.replace(/a$/, 'b') as SessionId, 0, 1_000)
  return after.length === before.length ? [] : [`sent again, ${after.length - before.length} messages are there twice`]
}

async function sendAll(store: Store, from: SessionId, texts: readonly string[], tell: Tell<StoreWord>): Promise<void> {
  const send = async (text: string): Promise<void> => {
    await store.send(from, text, { text })
    tell({ sent: text })
  }
  await Promise.all(texts.map(send))
}

async function work(store: Store, from: SessionId, id: string, tell: Tell<StoreWord>): Promise<void> {
  const holder = from.replace(/a$/, 'b') as SessionId
  const task: NewTask = { id, description: id, priority: 'P1', role: null, holder, deadline: null, createdBy: from }
  tell({ task: id, state: (await store.addTask(task)).state })
  const leased = await store.leaseTask(holder, 'life')
  tell({ task: id, state: leased?.state ?? '' })
  const end = { task: id, epoch: leased?.epoch ?? 0, state: 'completed', progress: null, result: null } as const
  tell({ task: id, state: (await store.report(holder, end)).state })
}

/** Moves what the log holds into the database, as a process beside the store may do at any time. */
function checkpoint(root: string, how: 'PASSIVE' | 'TRUNCATE'): void {
  const database = new Database(join(root, DATABASE), { timeout: 5_000 })
  database.pragma('synchronous = FULL')
  database.pragma(`wal_checkpoint(${how})`)
  database.close()
}

export const storeScenario: Scenario<Contents, StoreWord> = {
  name: 'store',
  module: import.meta.url,
  lay: layChannel,
  async play(root, tell) {
    await using store = await openAt(root)
    const from = await senderIn(store)
    for (let group = 0; group < 3; group += 1) {
      await sendAll(
        store,
        from,
        [0, 1, 2].map((each) => `text ${group}.${each}`),
        tell,
      )
    }
    await work(store, from, 'task-1', tell)
    await store.openIncident({ cause: 'cause-1', kind: 'silent', agent: null, summary: 'it is silent' }, ['log'])
    tell({ incident: 'cause-1' })
    checkpoint(root, 'PASSIVE')
    for (let group = 3; group < 5; group += 1) {
      await sendAll(
        store,
        from,
        [0, 1].map((each) => `text ${group}.${each}`),
        tell,
      )
    }
    await work(store, from, 'task-2', tell)
    checkpoint(root, 'TRUNCATE')
    await sendAll(store, from, ['text 5.0'], tell)
  },
  settle: recover,
  look: async (root) => contentsOf(join(root, DATABASE)),
  judge: lackOf,
  start: sendAgain,
}

/** The Python bridge beside the store: it opens a connection for each call, and the last one to close takes the log away. */
export const besidePython: Scenario<Contents, StoreWord> = {
  name: 'beside python',
  module: import.meta.url,
  whyNot: noPython,
  lay: layChannel,
  async play(root, tell) {
    const bridge = fileURLToPath(new URL('../../core/store/python-bridge.py', import.meta.url))
    await using python = new Neighbour(
      spawn('python3', [bridge, join(root, DATABASE)], { stdio: ['pipe', 'pipe', 'inherit'], detached: true }),
    )
    await python.hear()
    const made = await python.call('create_conversation', { my_role: 'orchestrator', partner_role: 'tests' })
    const sender = { conversation_id: made.conversation_id, session_id: 'a', token: made.a }
    const say = async (message: string): Promise<void> => {
      await python.call('send_to_partner', { ...sender, message })
      tell({ sent: message })
    }
    {
      await using store = await openAt(root)
      const from = await senderIn(store)
      for (const [own, foreign] of ROUNDS) await Promise.all([sendAll(store, from, [own], tell), say(foreign)])
    }
    await say('the last of Python')
  },
  settle: recover,
  look: async (root) => contentsOf(join(root, DATABASE)),
  judge: lackOf,
}

const ROUNDS = [1, 2, 3, 4].map((each) => [`text ${each}`, `of Python ${each}`] as const)

type FoundNew = { readonly refused: string } | { readonly broken: string } | Contents

/** A database that is made anew: none, or whole; before the first answer it may be refused, by name. */
export const newDatabase: Scenario<FoundNew, StoreWord | { readonly opened: true }> = {
  name: 'new database',
  module: import.meta.url,
  async play(root, tell) {
    await using store = await openAt(root)
    const { a } = await openChannel(store)
    tell({ opened: true })
    await sendAll(store, a, ['text 1', 'text 2'], tell)
    await sendAll(store, a, ['text 3'], tell)
  },
  settle(root) {
    try {
      return recover(root)
    } catch (error) {
      return `refused: ${(error as Error).message}`
    }
  },
  async look(root) {
    try {
      await (await openAt(root))[Symbol.asyncDispose]()
    } catch (error) {
      const isNamed = error instanceof S2Error && error.code !== 'internal'
      return isNamed ? { refused: error.message } : { broken: String(error) }
    }
    return contentsOf(join(root, DATABASE))
  },
  judge(found, told) {
    if ('broken' in found) return [`it breaks whoever opens it: ${found.broken}`]
    if ('texts' in found) return lackOf(found, told.filter((word) => !('opened' in word)) as StoreWord[])
    return told.length === 0 ? [] : [`it was opened, and is refused: ${JSON.stringify(found)}`]
  },
}
