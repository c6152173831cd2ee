import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Writable } from 'node:stream'
import type { Clock } from './clock.ts'
import { childStdio } from './fd-inheritance.ts'
import { startErrorOf } from './start-error.ts'

/** A command with bounds on its time and output. */
export interface Command {
  readonly argv: readonly [string, ...string[]]
  /** Written to its standard input, which is then closed. */
  readonly input?: string | Uint8Array
  /** Takes its standard input in place of `input`: whoever talks with it closes that. */
  readonly onInput?: (input: Writable) => void
  /** Its whole environment. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  /** Infinity: no limit. */
  readonly timeoutMs: number
  /** How long its group may take to end after TERM before it is killed. Default: 2 s. */
  readonly graceMs?: number
  /**
   * How long what it leaves in its group may go on writing once it has exited itself, as a filter behind its output does;
   * then the group is killed. One that leaves nothing is not waited for. Default: 200 ms.
   */
  readonly lingerMs?: number
  /** Bytes kept of standard output, and of standard error. */
  readonly outputMax: number
  /** For longer output: keep its end, or end the command. */
  readonly beyond: 'keep_tail' | 'end'
  /** Called with the process id, which is also that of its group, once it runs. */
  readonly onStart?: (pid: number) => void
  /** Called with output as it comes, and the stream that it comes by. */
  readonly onOutput?: (chunk: Buffer, stream: OutputStream) => void
}

export type OutputStream = 'stdout' | 'stderr'

export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: Buffer
  readonly stderr: string
  /** Why S2 ended it; null where it ended by itself. */
  readonly ended: 'timeout' | 'aborted' | 'output' | null
}

/** Whether it ended by itself, with exit code 0. */
export function hasSucceeded({ code, ended }: Ending): boolean {
  return code === 0 && ended === null
}

/** The end of a command, in words. */
export function howItEnded({ ended, signal, code }: Ending): string {
  if (ended !== null) return ENDED[ended]
  return signal === null ? `exit code ${code}` : `it was ended by ${signal}`
}

const ENDED = { timeout: 'it took too long', aborted: 'it was stopped', output: 'its output was too long' } as const

const GRACE_MS = 2_000
/** How long the last output may take once the command has ended. */
const OUTPUT_GRACE_MS = 200

/**
 * Runs a command in a process group of its own and ends the whole group at its limits or when the signal aborts, so that
 * its children (git's transport helpers, a shell's commands) end with it. Rejects only when it cannot be started, with a
 * `StartError`.
 */
export async function runCommand(command: Command, clock: Clock, signal?: AbortSignal): Promise<Ending> {
  const child = spawnCommand(command)
  if (child.pid === undefined) throw startErrorOf(command, (await once(child, 'error'))[0])
  const over = new AbortController()
  const hurry = new AbortController()
  let ended: Ending['ended'] = null
  const end = (why: Ending['ended']): void => {
    if (hasExited(child)) hurry.abort()
    // What it exited with stands, though what it left is ended now; only its output is not whole then.
    if (ended !== null || (hasExited(child) && why !== 'output')) return
    ended = why
    void endGroup(child, command.graceMs ?? GRACE_MS, clock, over.signal)
  }
  const onBeyond = command.beyond === 'end' ? () => end('output') : undefined
  const stdout = collectOutput(child.stdout, command.outputMax, onBeyond)
  const stderr = collectOutput(child.stderr, command.outputMax, onBeyond)
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].on('data', (chunk: Buffer) => command.onOutput?.(chunk, stream))
  }
  command.onStart?.(child.pid)
  child.stdin.on('error', () => undefined) // it may end without reading its input
  if (command.onInput === undefined) child.stdin.end(command.input ?? '')
  else command.onInput(child.stdin)
  const onAbort = (): void => end('aborted')
  if (signal?.aborted === true) onAbort()
  signal?.addEventListener('abort', onAbort, { once: true })
  if (Number.isFinite(command.timeoutMs)) {
    clock.sleep(command.timeoutMs, over.signal).then(
      () => end('timeout'),
      () => undefined,
    )
  }
  try {
    const lingerMs = (): number => (ended === null ? (command.lingerMs ?? OUTPUT_GRACE_MS) : OUTPUT_GRACE_MS)
    const [code, by] = await waitForEnd(child, lingerMs, clock, hurry.signal)
    return { code, signal: by, stdout: stdout(), stderr: stderr().toString('utf8'), ended }
  } finally {
    over.abort()
    signal?.removeEventListener('abort', onAbort)
  }
}

function spawnCommand(command: Command): ChildProcessWithoutNullStreams {
  const [file, ...args] = command.argv
  try {
    return spawn(file, args, {
      detached: true,
      stdio: childStdio(),
      env: command.env,
      ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    }) as ChildProcessWithoutNullStreams
  } catch (error) {
    throw startErrorOf(command, error)
  }
}

function hasExited({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null
}

/** A configured command line: a JSON list is run as it is, any other text by the shell. Throws an Error for a bad list. */
export function commandLine(text: string): readonly [string, ...string[]] {
  if (!text.trimStart().startsWith('[')) return ['/bin/sh', '-c', text]
  const list: unknown = JSON.parse(text)
  if (!Array.isArray(list) || !list.every((each) => typeof each === 'string') || (list[0] ?? '').trim() === '') {
    throw new Error('must be a JSON list of texts, the program first')
  }
  return list as unknown as [string, ...string[]]
}

/** Sends a signal to a process group; does nothing where it has ended. */
export function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // ESRCH: the group has ended
  }
}

async function endGroup(child: ChildProcess, graceMs: number, clock: Clock, over: AbortSignal): Promise<void> {
  if (child.pid === undefined) return
  signalGroup(child.pid, 'SIGTERM')
  signalGroup(child.pid, 'SIGCONT') // a stopped process does not handle TERM
  await clock.sleep(graceMs, over).catch(() => undefined)
  if (!over.aborted) signalGroup(child.pid, 'SIGKILL')
}

/**
 * Waits for the end and for the last output. Processes left in its group are killed after their time, and a pipe that a
 * process outside the group holds is closed.
 */
async function waitForEnd(
  child: ChildProcess,
  lingerMs: () => number,
  clock: Clock,
  hurry: AbortSignal,
): Promise<[number | null, NodeJS.Signals | null]> {
  const drained = new AbortController()
  child.once('close', () => drained.abort())
  const ending = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => resolve([code, signal]))
  })
  await clock.sleep(lingerMs(), AbortSignal.any([drained.signal, hurry])).catch(() => undefined)
  if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL')
  if (!drained.signal.aborted) await clock.sleep(OUTPUT_GRACE_MS, drained.signal).catch(() => undefined)
  child.stdout?.destroy()
  child.stderr?.destroy()
  return ending
}

/** Keeps the last `max` bytes of a stream, and calls back when there are more. */
function collectOutput(stream: NodeJS.ReadableStream, max: number, onBeyond?: () => void): () => Buffer {
  let kept: Buffer[] = []
  let size = 0
  stream.on('data', (chunk: Buffer) => {
    kept.push(chunk)
    size += chunk.length
    if (size > max) onBeyond?.()
    // Trimmed seldom: a command that writes without end would else have its whole tail copied for each piece.
    if (size > 2 * max) trim()
  })
  const trim = (): void => {
    const all = Buffer.concat(kept)
    kept = [Buffer.from(all.subarray(Math.max(0, all.length - max)))]
    size = kept[0]?.length ?? 0
  }
  return () => {
    if (size > max) trim()
    return Buffer.concat(kept)
  }
}
