import type { ChildProcess } from 'node:child_process'
import type { Writable } from 'node:stream'
import { TAIL_MAX, type Task } from '#fleet/task.ts'
import { addUsage, cleanUsage, NO_USAGE, type Usage } from '#fleet/usage.ts'
import type { Clock } from '#runtime/clock.ts'
import { type Ending, howItEnded, runCommand } from '#runtime/run-command.ts'
import { WorkSigns } from '#runtime/work-signs.ts'
import { CommandOutput } from '../command-output.ts'
import type { CommandEnd, RunningCommand, StartCommand } from '../running-command.ts'
import { startGroupReaper, taskEnv } from '../task-command.ts'
import type { ClientDriver, ClientEnding, ClientTalk } from './client-driver.ts'
import { JsonLines } from './json-lines.ts'
import type { AgentBudget, RunBudget } from './run-budget.ts'
import { taskPrompt } from './task-prompt.ts'
import type { TaskSessions } from './task-sessions.ts'

/** How long a client may take to end once its last word was said and its input is closed. */
const LEAVE_MS = 30_000
/** How long a turn may take to leave off once a budget is reached, and its process to end then. */
const BUDGET_MS = 10_000
const BUDGET_GRACE_MS = 2_000
/** The part of the time for stopping that an interrupted turn has to end by itself, and its most, milliseconds. */
const INTERRUPT_SHARE = 1 / 3
const INTERRUPT_MAX_MS = 1_000

export interface ClientRunParts {
  readonly driver: ClientDriver
  /** The environment of the client without that of the task. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly folder: string
  readonly clock: Clock
  readonly sessions: TaskSessions
  readonly budget: AgentBudget
  /** Called where a session, or what was used, cannot be kept: the task goes on without that. */
  onTrouble(error: unknown): void
}

/** Starts a client for a task, in a process of its own that lives for that task: tasks share no context, and what one left goes with it. */
export function clientStarter(parts: ClientRunParts): StartCommand {
  return (task, onLine) => new ClientRun(task, onLine, parts)
}

class ClientRun implements RunningCommand {
  readonly ended: Promise<CommandEnd>
  readonly #task: Task
  readonly #parts: ClientRunParts
  readonly #output: CommandOutput
  /** Its standard error, which is no progress: it explains a death. */
  readonly #complaints: CommandOutput
  readonly #stopping = new AbortController()
  readonly #over = new AbortController()
  readonly #budget: RunBudget
  #isStopped = false
  #isOverBudget = false
  /** Whether the client has said anything on its way for programs. */
  #isHeard = false
  readonly #noted: Promise<void>[] = []
  #graceMs = 0
  #talk: ClientTalk | null = null
  #signs: WorkSigns | null = null
  #hasWorked = false
  #earlier: Usage = NO_USAGE

  constructor(task: Task, onLine: (line: string) => void, parts: ClientRunParts) {
    this.#task = task
    this.#parts = parts
    this.#output = new CommandOutput(onLine, parts.clock)
    this.#complaints = new CommandOutput(() => undefined, parts.clock)
    this.#budget = parts.budget.of(task)
    this.ended = this.#run().finally(() => this.#over.abort())
  }

  get usage(): Usage {
    return cleanUsage(addUsage(this.#earlier, this.#talk?.usage ?? NO_USAGE))
  }

  /** A living process that says nothing does not work, unless a tool of its runs. */
  async hasWorked(): Promise<boolean> {
    const hasSpoken = this.#hasWorked
    this.#hasWorked = false
    const hasRun = (await this.#signs?.look()) ?? false
    return hasSpoken || (hasRun && this.#talk?.runsTool === true)
  }

  /** Asks the client to leave its turn, so that its session is whole, and ends its group soon after. */
  stop(graceMs: number): void {
    const askMs = Math.min(INTERRUPT_MAX_MS, graceMs * INTERRUPT_SHARE)
    this.#isStopped = true
    this.#graceMs = graceMs - askMs
    this.#talk?.interrupt()
    const end = (): void => this.#stopping.abort()
    if (askMs === 0) end()
    else void this.#parts.clock.sleep(askMs, this.#over.signal).then(end, () => undefined)
  }

  async #run(): Promise<CommandEnd> {
    if (this.#budget.isReached(NO_USAGE)) return this.#budget.end(NO_USAGE)
    try {
      return await this.#drive()
    } finally {
      await this.#parts.budget.note(this.usage).catch(this.#parts.onTrouble)
    }
  }

  async #drive(): Promise<CommandEnd> {
    const { folder, sessions } = this.#parts
    const known = await sessions.find(this.#task.id, folder)
    let [ending, process] = await this.#once(known)
    if (ending?.is === 'no_session' && !this.#isStopped) {
      await sessions.forget(this.#task.id)
      this.#earlier = this.usage
      ;[ending, process] = await this.#once(null)
    }
    if (ending?.is === 'budget' || (this.#isOverBudget && ending?.is !== 'done')) return this.#budget.end(this.usage)
    const isAnswer = ending?.is === 'done' || ending?.is === 'failed'
    if (isAnswer && !this.#isStopped) await sessions.forget(this.#task.id)
    this.#output.end()
    const tail = this.#complaints.end()
    return (this.#isHeard ? null : refusedCall(ending, process, tail)) ?? endOf(ending, process, tail)
  }

  /** Runs the client once, to its end. Rejects when it cannot be started. */
  async #once(resumed: string | null): Promise<[ClientEnding | null, Ending]> {
    const { driver, env, folder, clock } = this.#parts
    const isTrusted = await driver.trusts(folder, env)
    if (!isTrusted) this.#show(UNTRUSTED)
    const graceMs = (): number => this.#graceMs
    let reaper: ChildProcess | null = null
    let talk: ClientTalk | null = null
    const lines = new JsonLines(
      (message) => {
        this.#isHeard = true
        talk?.hear(message)
        this.#keepBudget()
      },
      (line) => this.#show(line),
    )
    const ending = await runCommand(
      {
        argv: driver.argv(resumed, this.#budget.dollars, isTrusted),
        env: { ...env, ...taskEnv(this.#task), S2_TASK_DESCRIPTION: undefined },
        cwd: folder,
        timeoutMs: Number.POSITIVE_INFINITY,
        outputMax: TAIL_MAX,
        beyond: 'keep_tail',
        get graceMs(): number {
          return graceMs()
        },
        onStart: (pid) => {
          reaper = startGroupReaper(pid)
          this.#signs = new WorkSigns(pid, clock)
        },
        onInput: (input) => {
          talk = this.#begin(resumed, isTrusted, input)
        },
        onOutput: (chunk, stream) => {
          if (stream === 'stdout') lines.take(chunk)
          else this.#complaints.take(chunk, stream)
        },
      },
      clock,
      this.#stopping.signal,
    ).finally(() => (reaper as ChildProcess | null)?.stdin?.end('over\n'))
    await Promise.all(this.#noted.splice(0))
    return [this.#talk?.ending ?? null, ending]
  }

  #begin(resumed: string | null, isTrusted: boolean, input: Writable): ClientTalk {
    const { driver, folder, clock, sessions, onTrouble } = this.#parts
    const talk = driver.talk({
      prompt: taskPrompt(this.#task, resumed !== null),
      resumed,
      folder,
      isTrusted,
      now: () => clock.wall(),
      send: (message) => void (input.writable && input.write(`${JSON.stringify(message)}\n`)),
      show: (line) => this.#show(line),
      noteWork: () => {
        this.#hasWorked = true
      },
      noteSession: (id) => void this.#noted.push(sessions.note(this.#task.id, folder, id).catch(onTrouble)),
      finish: () => this.#leave(input),
    })
    this.#talk = talk
    talk.begin()
    return talk
  }

  /** Its result is there: it ends by itself, or is ended. */
  #leave(input: Writable): void {
    input.end()
    const end = (): void => this.#stopping.abort()
    void this.#parts.clock.sleep(LEAVE_MS, this.#over.signal).then(end, () => undefined)
  }

  /** Leaves the turn once a budget is reached. */
  #keepBudget(): void {
    if (this.#isOverBudget || this.#talk?.ending !== null || !this.#budget.isReached(this.usage)) return
    this.#isOverBudget = true
    this.#graceMs = BUDGET_GRACE_MS
    this.#talk.interrupt()
    const end = (): void => this.#stopping.abort()
    void this.#parts.clock.sleep(BUDGET_MS, this.#over.signal).then(end, () => undefined)
  }

  #show(line: string): void {
    if (line.trim() !== '') this.#output.take(Buffer.from(`${line.trimEnd()}\n`), 'stdout')
  }
}

const UNTRUSTED =
  'the client was not told to trust this folder: settings, hooks, servers and instructions that lie there are left out (start it there once by hand, and say so)'

/** How a program says that an option, or the argument of one, is not for it. */
const BAD_OPTION = /^error: .*--[a-z].*$/m

/** The end of a client that was given an option it does not take: it would refuse every task. Null for any other end. */
function refusedCall(ending: ClientEnding | null, { code, signal }: Ending, tail: string): CommandEnd | null {
  const complaint = BAD_OPTION.exec(tail)?.[0]
  if (ending !== null || code === null || code === 0 || complaint === undefined) return null
  const why = `the client refuses how it is called: ${complaint}`
  return { exitCode: code, signal, tail: `${why}\n`, client: { state: 'sick', why, until: null } }
}

/** What a client said of its end counts, whatever its exit code is. */
function endOf(ending: Exclude<ClientEnding, { is: 'budget' }> | null, process: Ending, tail: string): CommandEnd {
  const { code, signal } = process
  if (ending === null || ending.is === 'no_session') {
    const how = `the client ended without a result: ${howItEnded(process)}`
    return { exitCode: code === 0 ? 1 : code, signal, tail: `${tail}${how}\n`, client: 'died' }
  }
  if (ending.is === 'done') return { exitCode: 0, signal: null, tail: ending.text, client: 'answered' }
  if (ending.is === 'failed') return { exitCode: 1, signal: null, tail: ending.why, client: 'answered' }
  const { is: state, why, until } = ending
  return { exitCode: 1, signal: null, tail: why, client: { state, why, until } }
}
