import { type ChildProcess, spawn } from 'node:child_process'
import { TAIL_MAX, type Task } from '#fleet/task.ts'
import type { Clock } from '#runtime/clock.ts'
import { type OutputStream, runCommand } from '#runtime/run-command.ts'
import { WorkSigns } from '#runtime/work-signs.ts'
import { CommandOutput } from './command-output.ts'
import type { CommandEnd, RunningCommand, StartCommand } from './running-command.ts'

/** The longest text in an environment on Linux (MAX_ARG_STRLEN, execve(2)); standard input has the whole task. */
const ENV_BYTES_MAX = 120_000
/** How long a filter behind the output of a command may take to finish, once the command itself has exited. */
const FILTER_MS = 2_000

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
    let signs: WorkSigns | null = null
    const output = new CommandOutput(onLine, clock)
    const command = {
      argv,
      input: form === 'json' ? `${JSON.stringify(taskForCommand(task))}\n` : `${task.description}\n`,
      env: { ...env, ...taskEnv(task) },
      cwd: folder,
      timeoutMs: Number.POSITIVE_INFINITY,
      lingerMs: FILTER_MS,
      outputMax: TAIL_MAX,
      beyond: 'keep_tail' as const,
      get graceMs(): number {
        return graceMs
      },
      onStart: (pid: number) => {
        reaper = startGroupReaper(pid)
        signs = new WorkSigns(pid, clock)
      },
      onOutput: (chunk: Buffer, stream: OutputStream) => {
        signs?.noteOutput()
        output.take(chunk, stream)
      },
    }
    const run = async (): Promise<CommandEnd> => {
      try {
        const { code, signal } = await runCommand(command, clock, stopping.signal)
        return { exitCode: code, signal, tail: output.end() }
      } finally {
        reaper?.stdin?.end('over\n')
      }
    }
    return {
      ended: run(),
      openLine: () => output.openLine(),
      hasWorked: async () => (await signs?.look()) ?? false,
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
export function startGroupReaper(group: number): ChildProcess {
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

export function taskEnv(task: Task): Record<string, string> {
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
  // As a stream, it keeps back the bytes of a character whose others are cut off.
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.from(clean).subarray(0, ENV_BYTES_MAX), {
    stream: true,
  })
}
