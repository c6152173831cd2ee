import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { S2Error } from '#fleet/errors.ts'
import { INCIDENT_KINDS } from '#fleet/incident.ts'
import { partnerOf, type SessionId, sessionId } from '#fleet/session-id.ts'
import type { NewTask } from '#fleet/task.ts'
import { recordingLog } from '#runtime/log.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from '../../services/watchdog/config.ts'
import { watch } from '../../services/watchdog/watchdog.ts'
import type { WorkEvent } from '../../services/worker/work-event.ts'
import { MovableClock } from '../movable-clock.ts'
import { until } from '../until.ts'
import { type WorkerConfig, type WorkerStore, work } from './command-worker.ts'
import { type Demand, type Happening, isFulfilled, type Label, type Situation } from './situation.ts'
import { Witness } from './witness.ts'
import type { Answer, News, Question } from './worker-process.ts'

/** A real command in the hands of a real worker, under a real watchdog whose clocks are shorter. Real time passes. */
export interface CommandPlay {
  /** The texts of the tasks that the first worker gets. It runs each by a shell, unless `argv` says otherwise. */
  readonly tasks: readonly string[]
  readonly argv?: readonly [string, ...string[]]
  /** The second worker does its tasks well, unless it is like the first. */
  readonly second?: 'well' | 'same'
  /** Where the first one works, below the folder of the play. */
  readonly folder?: string
  /** A process of its own for the first one, which is started again whenever it dies. */
  readonly isApart?: boolean
  /** How the clocks differ from CLOCKS. */
  readonly clocks?: Partial<typeof CLOCKS>
  readonly task?: Partial<NewTask>
  readonly deadlineMs?: number
  /** Lays down what the command needs. */
  prepare?(folder: string): void
  /** What happens beside it. Answers what is to be undone. */
  beside?(stage: CommandStage): (() => void) | undefined
}

/** Milliseconds; they stand for 60 s, 15 min, 2 min, 15 s and 60 s. */
export const CLOCKS = {
  leaseMs: 3_000,
  stallAfterMs: 3_000,
  takeWithinMs: 3_000,
  lateAfterMs: 3_000,
  silentAfterMs: 9_000,
  quickFailureMs: 2_500,
}
/** A few looks of worker and watchdog, on a machine that does other things too. */
export const SLACK_MS = 5_000
const BEAT_MS = 250
/** After the last that is demanded nothing else may happen for so long. */
const REST_MS = 1_000

export function command(
  title: string,
  label: Label,
  play: CommandPlay,
  follows: readonly Demand[],
  known?: string,
): Situation {
  return {
    title,
    label,
    follows,
    ...(known === undefined ? {} : { known }),
    play: async (demands) => {
      await using stage = await CommandStage.open(play)
      return await stage.play(demands)
    },
  }
}

export class CommandStage implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 's2-corpus-'))
  readonly clock = new MovableClock()
  readonly #play: CommandPlay
  readonly #clocks: typeof CLOCKS
  readonly #store: Store
  readonly #witness: Witness
  readonly #over = new AbortController()
  readonly #running: Promise<unknown>[] = []
  readonly #sessions: SessionId[] = []
  readonly #undo: (() => void)[] = []

  static async open(play: CommandPlay): Promise<CommandStage> {
    const stage = new CommandStage(play)
    play.prepare?.(stage.folder)
    await stage.#join('w1')
    await stage.#join('w2')
    stage.#running.push(stage.#beat(), stage.#watch())
    await until('both are heard', async () => {
      const { verdicts } = await stage.#store.verdicts()
      return verdicts.filter(({ agent, verdict }) => agent !== 'boss' && verdict === 'alive').length === 2
    })
    return stage
  }

  private constructor(play: CommandPlay) {
    this.#play = play
    this.#clocks = { ...CLOCKS, ...play.clocks }
    this.#store = openMemoryStore({ clock: this.clock })
    this.#witness = new Witness(this.#store, this.clock)
  }

  async play(follows: readonly Demand[]): Promise<readonly Happening[]> {
    const { tasks, second, isApart } = this.#play
    if (isApart === true) {
      const begun = Promise.withResolvers<void>()
      this.#running.push(this.#workApart(() => begun.resolve()))
      await begun.promise
    } else this.#running.push(this.#work(this.#config(0)))
    this.#witness.begin()
    for (const [index, text] of tasks.entries()) await this.#add(`t${tasks.length === 1 ? '' : index + 1}`, text)
    const other = this.#config(1)
    this.#running.push(this.#work(second === 'same' ? other : { ...other, argv: WELL, folder: this.folder }))
    const undo = this.#play.beside?.(this)
    if (undo !== undefined) this.#undo.push(undo)
    const lastMs = Math.max(...follows.map(({ to }) => (Number.isFinite(to) ? to : 0)))
    const { happenings } = this.#witness
    await until('it is over', async () => {
      if (this.#witness.ms > lastMs) return true
      return isFulfilled(follows, happenings) && (await this.#store.tasks({ open: true })).length === 0
    })
    await this.clock.sleep(REST_MS)
    return [...happenings]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const undo of this.#undo) undo()
    this.#over.abort()
    await Promise.all(this.#running)
    await this.#store[Symbol.asyncDispose]()
    rmSync(this.folder, { recursive: true, force: true })
  }

  async #join(name: string): Promise<void> {
    const { id } = await this.#store.openConversation({
      roles: { a: 'orchestrator', b: 'tests' },
      agents: { a: 'boss', b: name },
      lifetimeMs: 86_400_000,
    })
    this.#sessions.push(sessionId(id, 'b'))
  }

  async #add(id: string, description: string): Promise<void> {
    const { task, deadlineMs } = this.#play
    await this.#store.addTask({
      id,
      description,
      priority: 'P2',
      role: 'tests',
      holder: this.#session(0),
      deadline: deadlineMs === undefined ? null : this.clock.wall() + deadlineMs,
      createdBy: null,
      ...task,
    })
  }

  #session(worker: number): SessionId {
    const session = this.#sessions[worker]
    if (session === undefined) throw new Error(`there is no worker ${worker}`)
    return session
  }

  /** What the daemons of the hosts and the bridge do. */
  async #beat(): Promise<void> {
    for (let seq = 1; !this.#over.signal.aborted; seq += 1) {
      const beat = { host: 'box', incarnation: 'first', seq, work: 0 }
      const sessions = this.#sessions.flatMap((session) => [session, partnerOf(session)])
      await this.#store.beat(sessions.map((session) => ({ ...beat, session })))
      await this.#store.tend()
      await this.clock.sleep(BEAT_MS, this.#over.signal).catch(() => undefined)
    }
  }

  async #watch(): Promise<void> {
    const { lateAfterMs, silentAfterMs, leaseMs, takeWithinMs, stallAfterMs } = this.#clocks
    const config: WatchConfig = {
      lateAfterMs,
      silentAfterMs,
      roundMs: 3_000,
      watchMs: 100,
      leaseMs,
      moveEveryMs: 500,
      pendingAfterMs: 3_000,
      takeWithinMs,
      stallAfterMs,
      onStall: { otherwise: 'move', byName: new Map() },
      attemptsMax: 3,
      fallback: new Map(),
      restartAfterMs: 30_000,
      restartsMax: 3,
      alertOn: new Set(INCIDENT_KINDS),
      alertExec: null,
      alertWebhook: null,
    }
    const [clock, signal] = [this.clock, this.#over.signal]
    await watch(config, {
      store: this.#witness.store,
      clock,
      log: recordingLog(),
      chance: Math.random,
      signal,
      sources: [],
      onError: (error) => this.#witness.note('trouble of the watchdog', String(error)),
    })
  }

  #config(worker: number): WorkerConfig {
    const { argv = BY_SHELL, folder = '.' } = this.#play
    const { leaseMs, quickFailureMs } = this.#clocks
    const path = [join(this.folder, 'bin'), '/usr/bin', '/bin', dirname(process.execPath)].join(':')
    const env = { PATH: path, LANG: 'C.UTF-8', HOME: this.folder }
    const place = { argv, env, folder: join(this.folder, folder), leaseMs, quickFailureMs }
    return { session: this.#session(worker), runId: `life of w${worker + 1}`, ...place }
  }

  async #work(config: WorkerConfig): Promise<void> {
    const [clock, { signal }] = [this.clock, this.#over]
    await work(config, { store: this.#witness.store, clock, signal, say: (event) => this.#hear(event) })
  }

  #hear(event: WorkEvent): void {
    if (event.event === 'stopping') this.#witness.note(`stopping ${event.task} ${event.why}`, event.reason)
    if (event.event === 'ended' && event.signal !== null) this.#witness.note(`stopped ${event.task} ${event.signal}`)
  }

  /** As a service manager keeps a program running. */
  async #workApart(onBegun: () => void): Promise<void> {
    const { signal } = this.#over
    for (let life = 1; !signal.aborted; life += 1) {
      const config = { ...this.#config(0), runId: `life ${life} of w1` }
      const child = fork(fileURLToPath(new URL('./worker-process.ts', import.meta.url)), [JSON.stringify(config)], {
        serialization: 'advanced',
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      })
      const end = (): boolean => child.kill('SIGTERM')
      signal.addEventListener('abort', end, { once: true })
      child.on('message', (message: Question | News) => {
        if (!('say' in message)) void this.#serve(child, message)
        else if (message.say === 'begins') onBegun()
        else this.#hear(message.say)
      })
      await once(child, 'exit')
      signal.removeEventListener('abort', end)
      await this.clock.sleep(200, signal).catch(() => undefined)
    }
  }

  async #serve(child: ChildProcess, { id, verb, args }: Question): Promise<void> {
    const answer = (given: Omit<Answer, 'id'>): void => void child.send({ id, ...given }, () => undefined)
    try {
      const store: WorkerStore = this.#witness.store
      answer({ value: await Reflect.apply(store[verb], store, args) })
    } catch (error) {
      if (!(error instanceof S2Error)) throw error
      answer({ error: { code: error.code, message: error.message } })
    }
  }
}

const BY_SHELL: readonly [string, ...string[]] = ['/bin/sh', '-c', 'exec /bin/sh -c "$S2_TASK_DESCRIPTION"']
const WELL: readonly [string, ...string[]] = ['/bin/sh', '-c', 'echo done']
