/** Copies of the message database: backups, what takes its place, what is kept before its tables change, and segments. */
import { hash } from 'node:crypto'
import { chmodSync, chownSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { systemClock } from '#runtime/clock.ts'
import { readSegment, segmentsFolder } from '#store/sqlite/audit/segment-file.ts'
import { makeBackup } from '#store/sqlite/backup/backup.ts'
import { earlierPath } from '#store/sqlite/backup/keep-earlier.ts'
import { restoreDatabase } from '#store/sqlite/backup/restore.ts'
import { roomIn } from '#store/sqlite/file/disk-room.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import type { Scenario } from '../scenario.ts'
import { type Contents, contentsOf, DATABASE, layChannel, openAt, senderIn, storeParts } from './store.ts'

/** What lies at a path: the contents, or why they cannot be had. */
type Copy = Contents | { readonly fault: string }

/** By the bytes of a database and of what SQLite takes for parts of it. */
const known = new Map<string, Copy>()

function copyAt(path: string): Copy {
  const parts = ['', '-wal', '-journal'].map((suffix) => (existsSync(path + suffix) ? readFileSync(path + suffix) : ''))
  const digest = parts.map((part) => hash('sha1', part)).join()
  const copy = known.get(digest) ?? lookAt(path)
  known.set(digest, copy)
  return copy
}

function lookAt(path: string): Copy {
  try {
    return contentsOf(path)
  } catch (error) {
    return { fault: `${(error as Error).message}`.replaceAll(path, '') }
  }
}

/** In the header of a database: what it says of a write-ahead log. */
const HEADER_JOURNAL = 18
const NO_LOG = 0x0101

/** Whether a database is one file alone, wherever it is put. */
function isOneFile(path: string): boolean {
  return readFileSync(path).readUInt16BE(HEADER_JOURNAL) === NO_LOG
}

function whatLacks(what: string, copy: Copy | null, texts: readonly string[]): string[] {
  if (copy === null) return [`${what} is not there`]
  if ('fault' in copy) return [`${what} is damaged: ${copy.fault}`]
  const lost = texts.filter((text) => !copy.texts.includes(text))
  return lost.length === 0 ? [] : [`${what} has no ${lost.join(' and no ')}`]
}

const backupParts = () => ({ ...storeParts(), roomIn })

async function backUp(root: string): Promise<string> {
  const order = { database: join(root, DATABASE), beats: 'not', keep: 2, keepForMs: 10 ** 12 } as const
  const { path } = await makeBackup({ ...order, folder: backupsIn(root) }, backupParts())
  return path.slice(root.length)
}

function backupsIn(root: string): string {
  return join(root, 'state', 'backups')
}

type BackupWord = { readonly sent: string } | { readonly made: string }

interface FoundBackups {
  readonly database: Copy
  readonly backups: Readonly<Record<string, Copy>>
  readonly withLog: readonly string[]
}

/** Whatever has a backup's name is whole, and what was made is there. */
export const backup: Scenario<FoundBackups, BackupWord> = {
  name: 'backup',
  module: import.meta.url,
  lay: layChannel,
  async play(root, tell) {
    await using store = await openAt(root)
    const from = await senderIn(store)
    for (const text of ['text 1', 'text 2']) {
      await store.send(from, text, { text })
      tell({ sent: text })
      tell({ made: await backUp(root) })
    }
  },
  async look(root) {
    const folder = backupsIn(root)
    const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.db')) : []
    const withLog = names.filter((name) => !isOneFile(join(folder, name)))
    const backups = names.map((name) => [`/state/backups/${name}`, copyAt(join(folder, name))] as const)
    return { database: copyAt(join(root, DATABASE)), backups: Object.fromEntries(backups), withLog }
  },
  judge({ database, backups, withLog }, told) {
    const sent = told.flatMap((word) => ('sent' in word ? [word.sent] : []))
    const made = told.flatMap((word) => ('made' in word ? [word.made] : []))
    return [
      ...whatLacks('the database', database, sent),
      ...Object.entries(backups).flatMap(([path, copy]) => whatLacks(path, copy, ['text 1'])),
      ...made.filter((path) => backups[path] === undefined).map((path) => `${path} was made, and is gone`),
      ...withLog.map((name) => `${name} wants a log beside it`),
    ]
  },
}

type RestoreWord = { readonly restored: string }

interface FoundRestore {
  readonly database: Copy | null
  readonly isRestored: boolean
  readonly kept: readonly Copy[]
  readonly mode: number
  readonly owner: number
}

const SHARED_MODE = 0o640
const OTHER_USER = process.getuid?.() === 0 ? 65_534 : process.getuid?.()

/** A database that was backed up when it held less; it belongs to another user, and a group may read it. */
async function layBackedUp(root: string): Promise<void> {
  await layChannel(root)
  {
    await using store = await openAt(root)
    const from = await senderIn(store)
    await store.send(from, 'k1', { text: 'text 1' })
    await backUp(root)
    await store.send(from, 'k2', { text: 'text 2' })
  }
  chmodSync(join(root, DATABASE), SHARED_MODE)
  chownSync(join(root, DATABASE), OTHER_USER ?? -1, statSync(root).gid)
}

async function restore(root: string, tell: (word: RestoreWord) => void): Promise<void> {
  const [name = ''] = readdirSync(backupsIn(root))
  const order = { backup: join(backupsIn(root), name), database: join(root, DATABASE) }
  const { kept } = await restoreDatabase(order, { ...backupParts(), sign: null })
  tell({ restored: kept ?? '' })
}

async function lookAtRestored(root: string): Promise<FoundRestore> {
  const path = join(root, DATABASE)
  const isThere = existsSync(path)
  const stat = isThere ? statSync(path) : undefined
  const database = isThere ? copyAt(path) : null
  const isRestored = database !== null && 'actions' in database && database.actions.includes('database_restored')
  const kept = readdirSync(root).filter((name) => /\.replaced-[^-]*$/.test(name))
  return {
    database,
    isRestored,
    kept: kept.map((name) => copyAt(join(root, name))),
    mode: (stat?.mode ?? 0) & 0o7777,
    owner: stat?.uid ?? 0,
  }
}

function judgeRestored(
  { database, isRestored, kept, mode, owner }: FoundRestore,
  told: readonly RestoreWord[],
): string[] {
  return [
    ...whatLacks('the database', database, isRestored ? ['text 1'] : ['text 1', 'text 2']),
    ...(told.length > 0 && !isRestored ? ['it was restored, and the former one is there again'] : []),
    ...(isRestored && kept.length === 0 ? ['it is restored, and the former one is not kept'] : []),
    ...(mode === SHARED_MODE && owner === OTHER_USER ? [] : [`its mode is ${mode.toString(8)} and its owner ${owner}`]),
  ]
}

/** The former database or the restored one is there, whole; the former one is kept whenever the restored one is there. */
export const restoreScenario: Scenario<FoundRestore, RestoreWord> = {
  name: 'restore',
  module: import.meta.url,
  lay: layBackedUp,
  play: restore,
  look: lookAtRestored,
  judge: (found, told) => [
    ...judgeRestored(found, told),
    ...found.kept.flatMap((copy) => whatLacks('the one that is kept', copy, ['text 1', 'text 2'])),
  ],
}

const DAMAGE = Buffer.alloc(4096, 0xff)

/** The same over a database that nobody can read, with a log beside it. */
export const restoreOverDamage: Scenario<FoundRestore, RestoreWord> = {
  name: 'restore over damage',
  module: import.meta.url,
  async lay(root) {
    await layBackedUp(root)
    const path = join(root, DATABASE)
    const bytes = readFileSync(path)
    DAMAGE.copy(bytes)
    writeFileSync(path, bytes)
    writeFileSync(`${path}-wal`, DAMAGE)
  },
  play: restore,
  look: lookAtRestored,
  judge({ isRestored, ...found }, told) {
    if (isRestored) return judgeRestored({ isRestored, ...found }, told)
    if (told.length > 0) return ['it was restored, and the damaged one is there again']
    // Until then the damaged one is there, or, in its last moment, under the name by which it is kept.
    return found.database === null && found.kept.length === 0 ? ['neither is there'] : []
  },
}

/** One who has written: without him SQLite makes a log at the first commit, and syncs the folder for it, which hides what we do not. */
function writerBeside(root: string): Disposable {
  const database = new Database(join(root, DATABASE))
  database.pragma('synchronous = FULL')
  database.exec('UPDATE messages SET read = 1')
  return { [Symbol.dispose]: () => database.close() }
}

type SegmentWord = { readonly removed: number }

interface FoundSegments {
  readonly database: Copy
  /** In the database, or in a segment that it names. */
  readonly texts: readonly string[]
  readonly faults: readonly string[]
}

const OLD_TEXTS = ['text 1', 'text 2', 'text 3', 'text 4']
const DAY = 86_400_000

/** A segment that the database names is there and is the one that was sealed: nothing is removed that lies nowhere. */
export const segments: Scenario<FoundSegments, SegmentWord> = {
  name: 'segments',
  module: import.meta.url,
  async lay(root) {
    await layChannel(root)
    await using store = await openAt(root)
    const from = await senderIn(store)
    for (const text of OLD_TEXTS) await store.send(from, text, { text })
  },
  async play(root, tell) {
    using _beside = writerBeside(root)
    const clock = { ...systemClock, wall: () => systemClock.wall() + 10 * DAY }
    await using store = await openSqliteStore(join(root, DATABASE), { ...storeParts(), clock })
    tell({ removed: await store.prune(DAY) })
  },
  async look(root) {
    const path = join(root, DATABASE)
    const database = copyAt(path)
    const faults: string[] = []
    const texts = 'fault' in database ? [] : [...database.texts]
    for (const { file, digest } of 'fault' in database ? [] : namedIn(path)) {
      const at = join(segmentsFolder(path), file)
      const segment = await readSegment(at).catch((error: Error) => error)
      if (segment instanceof Error) faults.push(segment.message)
      else if (segment.digest !== digest) faults.push(`${file} is another one`)
      else texts.push(...segment.lines.map((line) => String((JSON.parse(line) as { message?: unknown }).message)))
    }
    return { database, texts, faults }
  },
  judge: ({ database, texts, faults }, told) => [
    ...whatLacks('the database', database, []),
    ...('fault' in database
      ? []
      : OLD_TEXTS.filter((text) => !texts.includes(text)).map((text) => `${text} lies nowhere`)),
    ...faults,
    ...(told.length > 0 && 'texts' in database && database.texts.length > 1 ? ['what was removed is there again'] : []),
  ],
}

function namedIn(path: string): { readonly file: string; readonly digest: string }[] {
  const database = new Database(path, { readonly: true })
  try {
    return database.prepare('SELECT file, digest FROM s2_segments').all() as { file: string; digest: string }[]
  } finally {
    database.close()
  }
}

const FIRST = new URL('../../../services/core/store/sqlite/file/migrations/0001-begin.sql', import.meta.url)
const OLD_TEXT = 'from before'

interface FoundEarlier {
  readonly schema: number
  readonly database: Earlier
  readonly kept: Earlier | null
  readonly keptWithLog: boolean
}

type Earlier = { readonly schema: number; readonly texts: readonly string[] } | { readonly fault: string }

function earlierAt(path: string): Earlier {
  try {
    const database = new Database(path, { fileMustExist: true })
    try {
      const sound = database.pragma('integrity_check(1)', { simple: true })
      if (sound !== 'ok') return { fault: String(sound) }
      const schema = database.prepare('SELECT max(version) FROM s2_migrations').pluck().get() as number
      return { schema, texts: database.prepare('SELECT message FROM messages').pluck().all() as string[] }
    } finally {
      database.close()
    }
  } catch (error) {
    return { fault: (error as Error).message }
  }
}

/** Whenever the tables have changed, the database as the earlier version left it lies beside it. */
export const keptEarlier: Scenario<FoundEarlier, { readonly migrated: true }> = {
  name: 'kept earlier',
  module: import.meta.url,
  async lay(root) {
    const database = new Database(join(root, DATABASE))
    database.pragma('journal_mode = WAL')
    database.exec(readFileSync(FIRST, 'utf8'))
    database.exec("INSERT INTO s2_migrations VALUES (1, '0001-begin.sql', 0)")
    database
      .prepare(
        "INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp) VALUES ('conv_0123456789abcdef', 'a', 'b', ?, '2026-01-01T00:00:00')",
      )
      .run(OLD_TEXT)
    database.close()
  },
  async play(root, tell) {
    using _beside = writerBeside(root)
    await (await openAt(root))[Symbol.asyncDispose]()
    tell({ migrated: true })
  },
  async look(root) {
    const database = earlierAt(join(root, DATABASE))
    const path = earlierPath(join(root, DATABASE), 1)
    const schema = 'fault' in database ? 0 : database.schema
    const keptWithLog = existsSync(path) && !isOneFile(path)
    return { schema, database, kept: existsSync(path) ? earlierAt(path) : null, keptWithLog }
  },
  judge({ schema, database, kept, keptWithLog }, told) {
    const isOf = (copy: Earlier | null, wanted: (schema: number) => boolean): boolean =>
      copy !== null && 'texts' in copy && copy.texts.includes(OLD_TEXT) && wanted(copy.schema)
    return [
      ...(isOf(database, (each) => each >= 1) ? [] : [`the database is not whole: ${JSON.stringify(database)}`]),
      ...(schema > 1 && kept === null ? ['its tables have changed, and the earlier one is not kept'] : []),
      ...(kept === null || isOf(kept, (each) => each === 1)
        ? []
        : [`the kept one is not whole: ${JSON.stringify(kept)}`]),
      ...(keptWithLog ? ['the kept one wants a log beside it'] : []),
      ...(told.length > 0 && schema === 1 ? ['its tables are those of before again'] : []),
    ]
  },
}
