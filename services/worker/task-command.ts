import { type ChildProcess, spawn } from 'node:child_process'
import { LineRedactor } from '#fleet/line-redactor.ts'
import { redact } from '#fleet/redact.ts'
import { TAIL_MAX, type Task } from '#fleet/task.ts'
import type { Clock } from '#runtime/clock.ts'
import { runCommand } from '#runtime/run-command.ts'
import type { CommandEnd, RunningCommand, StartCommand } from './task-loop.ts'

/** The longest text in an environment on Linux (MAX_ARG_STRLEN, execve(2)); standard input has the whole task. */
const ENV_BYTES_MAX = 120_000
/** Characters of a line that are shown; longer ones are cut. */
const LINE_MAX = 4_000
/** Characters of a line whose end has not come; longer ones are shown in parts. */
const OPEN_MAX = 64_000

/** How a command finds the task on its standard input: all of it as JSON, or its text alone. */
export type TaskInput = 'json' | 'text'

/** Starts the command of `s2 work` for a task, in a process group of its own that ends with this process. */
export function commandStarter(
  argv: readonly [string, ...string[]],
  env: Readonly<Record<string, string | undefined>>,
  folder: string,
  clock: Clock,
  form: TaskInput = 'json',
): StartCommand {
  return (task, onLine): RunningCommand => {
    const stopping = new AbortController()
    let graceMs = 0
    let reaper: ChildProcess | null = null
    const lines = new Lines(onLine)
    const command = {
      argv,
      input: form === 'json' ? `${JSON.stringify(taskForCommand(task))}\n` : `${task.description}\n`,
      env: { ...env, ...taskEnv(task) },
      cwd: folder,
      timeoutMs: Number.POSITIVE_INFINITY,
      outputMax: TAIL_MAX,
      beyond: 'keep_tail' as const,
      get graceMs(): number {
        return graceMs
      },
      onStart: (pid: number) => {
        reaper = startGroupReaper(pid)
      },
      onOutput: (chunk: Buffer) => lines.take(chunk),
    }
    const run = async (): Promise<CommandEnd> => {
      try {
        const { code, signal } = await runCommand(command, clock, stopping.signal)
        return { exitCode: code, signal, tail: lines.tail() }
      } finally {
        reaper?.stdin?.end('over\n')
      }
    }
    return {
      ended: run(),
      stop: (ms) => {
        graceMs = ms
        stopping.abort()
      },
    }
  }
}

/**
 * Starts a reaper, which kills a process group when this process dies: it waits at a pipe whose other end only this process
 * holds. It has a session of its own, so that a signal to this process does not end it first.
 */
function startGroupReaper(group: number): ChildProcess {
  const script = 'read -r word || kill -s KILL -- "-$1"'
  const reaper = spawn('/bin/sh', ['-c', script, 'sh', String(group)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    env: {},
  })
  reaper.on('error', () => undefined)
  reaper.stdin?.on('error', () => undefined)
  return reaper
}

/** The task that a command reads as JSON on its standard input. */
function taskForCommand(task: Task): Record<string, unknown> {
  const { id, description, priority, role, epoch, deadline, originalAssignee, moves } = task
  return { id, description, priority, role, epoch, deadline, originalAssignee, moves }
}

function taskEnv(task: Task): Record<string, string> {
  return {
    S2_TASK_ID: task.id,
    S2_TASK_DESCRIPTION: forEnv(task.description),
    S2_TASK_PRIORITY: task.priority,
    S2_TASK_ROLE: task.role ?? '',
    S2_TASK_EPOCH: String(task.epoch),
    S2_TASK_SESSION: task.holder ?? '',
  }
}

/** A text without zero bytes, cut between characters to what an environment can hold. */
function forEnv(text: string): string {
  const clean = text.replaceAll('\0', '')
  if (Buffer.byteLength(clean) <= ENV_BYTES_MAX) return clean
  return new TextDecoder().decode(Buffer.from(clean).subarray(0, ENV_BYTES_MAX)).replace(/\ufffd$/, '')
}

/**
 * Splits output into lines without secrets, and keeps its last characters. A secret is looked for before anything is cut:
 * half of one would not be known.
 */
class Lines {
  readonly #onLine: (line: string) => void
  readonly #decoder = new TextDecoder()
  readonly #redactor = new LineRedactor()
  #open = ''
  #isMidWord = false
  #tail = ''

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine
  }

  take(chunk: Buffer): void {
    const lines = (this.#open + this.#afterWord(this.#decoder.decode(chunk, { stream: true }))).split(LINE_END)
    this.#open = lines.pop() ?? ''
    for (const line of lines) this.#show(line, '\n')
    if (this.#open.length > OPEN_MAX) this.#showPart()
  }

  tail(): string {
    if (this.#open !== '') this.#show(this.#open.replace(/\r$/, ''), '')
    this.#open = ''
    return redact(this.#tail).slice(-TAIL_MAX)
  }

  #show(line: string, end: string): void {
    const clean = this.#redactor.next(line)
    this.#tail = (this.#tail + clean + end).slice(-TAIL_MAX)
    this.#onLine(clean.slice(0, LINE_MAX))
  }

  /** Shows the words of a line without end; of a word without end only that there is one. */
  #showPart(): void {
    const cut = /\s\S{0,4000}$/.exec(this.#open.slice(-LINE_MAX))?.index
    this.#isMidWord = cut === undefined
    const from = this.#open.length - Math.min(LINE_MAX, this.#open.length) + (cut ?? 0)
    this.#show(cut === undefined ? '…' : this.#open.slice(0, from), '\n')
    this.#open = cut === undefined ? '' : this.#open.slice(from)
  }

  /** What comes after a word whose beginning was left out. */
  #afterWord(text: string): string {
    if (!this.#isMidWord) return text
    const space = text.search(/\s/)
    if (space < 0) return ''
    this.#isMidWord = false
    return text.slice(space)
  }
}

/** A return at the end may be half of a line end. */
const LINE_END = /\r\n|\n|\r(?!$)/
