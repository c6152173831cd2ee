/** Writers and readers of the push bench: a process each, spoken to in lines, over a database that the two have to themselves. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { compileC } from '../compile-c.ts'
import { quantile } from './figures.ts'
import type { Figures } from './row.ts'
import type { Stage } from './stage.ts'

/** Messages to commit: with random gaps of half to one and a half of `gapMs` between, or one at every `everyMs`. */
export interface SendOrder {
  readonly count: number
  readonly gapMs?: number
  readonly everyMs?: number
}

/** A message: its id, when its COMMIT had returned, and how long that took. All clocks are CLOCK_MONOTONIC. */
export type Sent = [id: number, committedAtNs: string, commitNs: number]

export const WRITERS = {
  call: 'a connection per call, four commits in it',
  lasting: 'long-lived',
  slow: 'long-lived, syncs 5 ms slower',
  bridge: 'the Python bridge, three connections a call',
  ours: 'the bridge of S2',
} as const
export type Manner = keyof typeof WRITERS

export const READERS = {
  ours: 'ours',
  ladder: 'plain ladder',
  each: 'plain, reads at each step',
  plainBell: 'plain Node at the doorbell',
  c: 'C',
  cBell: 'C at the doorbell',
} as const
export type Rival = keyof typeof READERS

/** Why a process is not to be had here. */
export class Unavailable extends Error {}

/** The last messages of a round must not be counted as missed before they could come. */
const LAST_MS = 1_000
const SLOW_SYNC_US = 5_000

/** A process that answers a line with a line; it says "ready" when it can. */
class Talker implements AsyncDisposable {
  readonly pid: number
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #lines: AsyncIterator<string>

  private constructor(argv: readonly [string, ...string[]], env: Readonly<Record<string, string>>) {
    const [file, ...args] = argv
    this.#child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env } })
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]()
    this.pid = this.#child.pid ?? 0
  }

  static async start(
    argv: readonly [string, ...string[]],
    env: Readonly<Record<string, string>> = {},
  ): Promise<Talker | null> {
    const talker = new Talker(argv, env)
    const isReady = (await talker.#lines.next()).done !== true
    return isReady ? talker : null
  }

  async ask<T>(question: unknown): Promise<T> {
    this.#child.stdin.write(`${JSON.stringify(question)}\n`)
    const line = await this.#lines.next()
    if (line.done === true) throw new Error(`${this.#child.spawnfile} has ended`)
    return JSON.parse(line.value) as T
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const left = once(this.#child, 'exit')
    this.#child.stdin.end()
    await left
  }
}

/** One writer and one reader at work on a database, in turn with those of other lanes. */
export class Lane implements AsyncDisposable {
  readonly manner: Manner
  readonly rival: Rival
  readonly #writer: Talker
  readonly #reader: Talker
  #sent: Sent[] = []

  private constructor(manner: Manner, rival: Rival, writer: Talker, reader: Talker) {
    this.manner = manner
    this.rival = rival
    this.#writer = writer
    this.#reader = reader
  }

  /** Throws `Unavailable` where the writer or the reader is not to be had. */
  static async open(stage: Stage, manner: Manner, rival: Rival): Promise<Lane> {
    const path = join(await stage.room(`push-${manner}-${rival}`), 'bridge.db')
    await using stack = new AsyncDisposableStack()
    const writer = stack.use(await openWriter(path, manner))
    const reader = stack.use(await openReader(path, rival))
    stack.move()
    return new Lane(manner, rival, writer, reader)
  }

  /** Commits and measures so many messages. */
  async measure(order: SendOrder): Promise<void> {
    this.#sent.push(...(await this.#writer.ask<Sent[]>(order)))
  }

  /** What was measured since the last call. */
  async figures(): Promise<Figures> {
    await sleep(LAST_MS)
    const arrivals = new Map(await this.#reader.ask<[id: number, ns: string][]>('arrivals'))
    const late = this.#sent.flatMap(([id, committedAt]) => {
      const arrivedAt = arrivals.get(id)
      return arrivedAt === undefined ? [] : [Number(BigInt(arrivedAt) - BigInt(committedAt)) / 1e6]
    })
    const figures = {
      p50Ms: quantile(late, 0.5),
      p90Ms: quantile(late, 0.9),
      p99Ms: quantile(late, 0.99),
      maxMs: quantile(late, 1),
      missed: this.#sent.length - late.length,
      messages: this.#sent.length,
      commitP50Ms: quantile(
        this.#sent.map(([, , ns]) => ns / 1e6),
        0.5,
      ),
    }
    this.#sent = []
    return figures
  }

  /** The share of one core that the reader takes while something is done, percent. */
  async cpuPercentWhile(act: () => Promise<unknown>): Promise<number> {
    const [cpuNs, start] = [cpuNsOf(this.#reader.pid), performance.now()]
    await act()
    const tookMs = performance.now() - start
    return (cpuNsOf(this.#reader.pid) - cpuNs) / 1e6 / tookMs / 0.01
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer[Symbol.asyncDispose]()
    await this.#reader[Symbol.asyncDispose]()
  }
}

export async function openWriter(path: string, manner: Manner): Promise<Talker> {
  if (manner === 'ours') return demand(await Talker.start([process.execPath, here('push-sender.ts'), path]), manner)
  const script = (of: Manner): [string, ...string[]] => ['python3', here('push-sender.py'), path, of]
  if (manner !== 'slow') return demand(await Talker.start(script(manner)), manner)
  const library = compileC(here('slow-sync.c'), { shared: true })
  if (library === null) throw new Unavailable('there is no C compiler here to make its syncs slow')
  const env = { LD_PRELOAD: library, SLOW_SYNC_US: String(SLOW_SYNC_US) }
  return demand(await Talker.start(script('lasting'), env), manner)
}

async function openReader(path: string, rival: Rival): Promise<Talker> {
  const node = (script: string, ...args: string[]): Promise<Talker | null> =>
    Talker.start([process.execPath, here(script), path, ...args])
  const inC = async (watched: 'wal' | 'bell'): Promise<Talker> => {
    const program = compileC(here('push-limit.c'))
    if (program === null) throw new Unavailable('there is no C compiler here')
    const talker = await Talker.start([program, path, watched])
    if (talker === null) throw new Unavailable('there is no libsqlite3.so.0 here')
    return talker
  }
  if (rival === 'c') return inC('wal')
  if (rival === 'cBell') return inC('bell')
  if (rival === 'ladder') return demand(await node('push-ladder.ts', 'quiet'), rival)
  if (rival === 'each') return demand(await node('push-ladder.ts', 'each'), rival)
  if (rival === 'plainBell') return demand(await node('push-ladder.ts', 'bell'), rival)
  return demand(await node('push-reader.ts'), rival)
}

function demand(talker: Talker | null, name: string): Talker {
  if (talker === null) throw new Unavailable(`${name} did not start; what it said stands above`)
  return talker
}

function here(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url))
}

/** CPU time of all threads of a process so far, proc(5); stat(5) counts in hundredths of a second, too coarse for an idle one. */
function cpuNsOf(pid: number): number {
  let ns = 0
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0])
    } catch {
      // the thread has ended
    }
  }
  return ns
}
