import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import type { FleetProgram } from '../kills/fleet-program.ts'
import type { Point } from './trend.ts'

/** What a figure counts, and by how much it may rise in an hour; null: it is shown and not judged. */
export interface Kind {
  readonly unit: string
  readonly risesPerHour: number | null
  readonly most?: number
}

/**
 * A megabyte an hour is a leak that a person would meet after some weeks. It is looked for in what lives in the heap after a
 * collection: the memory that a program has from the system follows that with hours of delay, and is shown.
 */
export const KINDS = {
  heap: { unit: 'MB', risesPerHour: 1 },
  memory: { unit: 'MB', risesPerHour: null },
  descriptors: { unit: '', risesPerHour: 0.5 },
  threads: { unit: '', risesPerHour: 0.5 },
  log: { unit: 'MB', risesPerHour: 0.5, most: 16 },
  database: { unit: 'MB', risesPerHour: 1 },
  rows: { unit: '', risesPerHour: 60 },
  'young rows': { unit: '', risesPerHour: 6_000 },
  'kept rows': { unit: '', risesPerHour: null },
  'spool files': { unit: '', risesPerHour: 30 },
  'kept files': { unit: '', risesPerHour: null },
  logs: { unit: 'MB', risesPerHour: null },
} as const satisfies Record<string, Kind>

export type KindName = keyof typeof KINDS

export interface Figure {
  readonly kind: KindName
  readonly of: string
  readonly points: Point[]
}

const MB = 1_000_000
/** What is kept on purpose: the keys of sends for as long as their conversations, and the list of the segments. */
const KEPT_TABLES: readonly string[] = ['s2_old_sends', 's2_segments']
/** What is kept for some minutes: as much as comes in that time, which differs with what else the machine does. */
const YOUNG_TABLES: readonly string[] = ['messages', 's2_sends', 's2_audit']
/** How long a program may take to write its heap down, which is longer where it stands still just then. */
const HEAP_MS = 30_000

/** The figures of a fleet over time. A figure that cannot be read just then, as of a program that starts, is left out. */
export class Samples {
  readonly #programs: readonly FleetProgram[]
  readonly #states: readonly string[]
  readonly #state: string
  readonly #figures = new Map<string, Figure>()
  readonly #began = performance.now()

  /** `states` are the state folders of all agents, the first that of the orchestrator. */
  constructor(programs: readonly FleetProgram[], states: readonly [string, ...string[]]) {
    this.#programs = programs
    this.#states = states
    this.#state = states[0]
  }

  /** Figures from this time on, milliseconds since the begin. */
  since(at: number): readonly Figure[] {
    return [...this.#figures.values()].map((figure) => ({
      ...figure,
      points: figure.points.filter((point) => point.at >= at),
    }))
  }

  get elapsedMs(): number {
    return performance.now() - this.#began
  }

  /** Has each program collect its garbage and write down what is left (Node's `--heapsnapshot-signal=SIGUSR2`), and measures that. */
  async takeHeaps(folder: string): Promise<void> {
    for (const { pid, name } of this.#programs) {
      if (pid === undefined) continue
      const at = this.elapsedMs
      process.kill(pid, 'SIGUSR2')
      const path = await writtenHeap(folder, pid)
      if (path === null) continue
      this.#note('heap', name, () => sizeOf(path), at)
      rmSync(path)
    }
  }

  take(): void {
    for (const program of this.#programs) this.#takeProgram(program)
    this.#takeDatabase(join(this.#state, 'bridge.db'))
    for (const name of ['liveness.db', 'bridge.db']) {
      this.#note('database', name, () => ownSizeOf(join(this.#state, name)))
      this.#note('log', `${name}-wal`, () => sizeOf(join(this.#state, `${name}-wal`)))
    }
    const all = (folders: readonly string[]): number =>
      this.#states.flatMap((state) => folders.map((name) => filesIn(join(state, name)))).reduce((sum, n) => sum + n, 0)
    this.#note('spool files', 'all agents', () =>
      all(['inbox/new', 'inbox/cur', 'inbox/tmp', 'outbox/new', 'outbox/tmp']),
    )
    this.#note('kept files', 'segments, backups and names of what was carried', () => {
      return all(['audit', 'backups', 'outbox/carried', 'outbox/refused', 'inbox/bad', 'outbox/bad'])
    })
    this.#note('logs', 'all programs', () => this.#programs.reduce((sum, { log }) => sum + sizeOf(log), 0))
  }

  #takeProgram(program: FleetProgram): void {
    const { pid, name } = program
    if (pid === undefined) return
    const proc = `/proc/${pid}`
    this.#note('memory', name, () => fieldOf(`${proc}/smaps_rollup`, 'Pss') / 1_000)
    this.#note('descriptors', name, () => readdirSync(`${proc}/fd`).length)
    this.#note('threads', name, () => fieldOf(`${proc}/status`, 'Threads'))
  }

  #takeDatabase(path: string): void {
    const database = new Database(path, { readonly: true, timeout: 1_000 })
    try {
      const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all() as string[]
      for (const table of tables) {
        this.#note(kindOf(table), table, () =>
          Number(database.prepare(`SELECT count(*) FROM "${table}"`).pluck().get()),
        )
      }
    } finally {
      database.close()
    }
  }

  #note(kind: KindName, of: string, read: () => number, at = this.elapsedMs): void {
    let value: number
    try {
      value = read()
    } catch {
      return
    }
    const key = `${kind} ${of}`
    const figure = this.#figures.get(key) ?? { kind, of, points: [] }
    this.#figures.set(key, figure)
    figure.points.push({ at, value })
  }
}

function kindOf(table: string): KindName {
  if (KEPT_TABLES.includes(table)) return 'kept rows'
  return YOUNG_TABLES.includes(table) ? 'young rows' : 'rows'
}

/** The file in which a program has written its heap down; null where none comes, as of one that stands still. */
async function writtenHeap(folder: string, pid: number): Promise<string | null> {
  const isOf = (name: string): boolean => name.includes(`.${pid}.`) && name.endsWith('.heapsnapshot')
  const end = performance.now() + HEAP_MS
  for (let last = 0; performance.now() < end; ) {
    await sleep(500)
    const name = readdirSync(folder).find(isOf)
    const size = name === undefined ? 0 : statSync(join(folder, name)).size
    if (name !== undefined && size > 0 && size === last) return join(folder, name)
    last = size
  }
  return null
}

/** The size of a database without the tables that are kept on purpose. */
function ownSizeOf(path: string): number {
  const database = new Database(path, { readonly: true, timeout: 1_000 })
  try {
    const names = KEPT_TABLES.map(() => '?').join()
    const kept = database.prepare(`SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name IN (${names})`).pluck()
    return sizeOf(path) - Number(kept.get(...KEPT_TABLES)) / MB
  } finally {
    database.close()
  }
}

function sizeOf(path: string): number {
  return statSync(path).size / MB
}

/** A number in a file of lines `Name: number`, proc(5). */
function fieldOf(path: string, name: string): number {
  const found = new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync(path, 'utf8'))
  if (found === null) throw new Error(`${basename(path)} has no ${name}`)
  return Number(found[1])
}

function filesIn(folder: string): number {
  if (!existsSync(folder)) return 0
  return readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).length
}
