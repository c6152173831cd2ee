import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import type { Clock } from './clock.ts'
import { childStdio } from './fd-inheritance.ts'

/** A command that is run to its end, bounded in time and output. */
export interface Command {
  readonly argv: readonly [string, ...string[]]
  /** Written to its standard input, which is then closed. */
  readonly input?: string | Uint8Array
  /** Its whole environment. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  /** Infinity: as long as it takes. */
  readonly timeoutMs: number
  /** How long its group may take to end after TERM before it is killed; 2 s unless said. */
  readonly graceMs?: number
  /** Bytes kept of standard output, and of standard error. */
  readonly outputMax: number
  /** What happens when standard output is longer: its end is kept, or the command is ended. */
  readonly beyond: 'keep_tail' | 'end'
  /** Told the process id, which is its group's too, once it runs. */
  readonly onStart?: (pid: number) => void
  /** Told of both streams' output as it comes. */
  readonly onOutput?: (chunk: Buffer) => void
}

export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: Buffer
  readonly stderr: string
  /** Why it was ended by us, if it was. */
  readonly ended: 'timeout' | 'aborted' | 'output' | null
}

/** Whether it ended by itself, and well. */
export function hasSucceeded({ code, ended }: Ending): boolean {
  return code === 0 && ended === null
}

/** How it ended, in words. */
export function howItEnded({ ended, signal, code }: Ending): string {
  if (ended !== null) return ENDED[ended]
  return signal === null ? `exit code ${code}` : `it was ended by ${signal}`
}

const ENDED = { timeout: 'it took too long', aborted: 'it was stopped', output: 'it said too much' } as const

/** How long a group may take to end after TERM before it is killed. */
const GRACE_MS = 2_000
/** How long the last output may take once the command itself has ended. */
const OUTPUT_GRACE_MS = 200

/**
 * Runs a command in a process group of its own and ends the whole group when time, output or the signal says so: what a
 * command started (git's transport helpers, a shell's children) ends with it. Rejects only when it cannot be started.
 */
export async function runCommand(command: Command, clock: Clock, signal?: AbortSignal): Promise<Ending> {
  const [file, ...args] = command.argv
  const child = spawn(file, args, {
    detached: true,
    stdio: childStdio(),
    env: command.env,
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
  }) as ChildProcessWithoutNullStreams
  const over = new AbortController()
  let ended: Ending['ended'] = null
  const end = (why: Ending['ended']): void => {
    if (ended !== null) return
    ended = why
    void endGroup(child, command.graceMs ?? GRACE_MS, clock, over.signal)
  }
  const stdout = gather(child.stdout, command.outputMax, command.beyond === 'end' ? () => end('output') : undefined)
  const stderr = gather(child.stderr, command.outputMax)
  if (command.onOutput !== undefined) {
    child.stdout.on('data', command.onOutput)
    child.stderr.on('data', command.onOutput)
  }
  if (child.pid !== undefined) command.onStart?.(child.pid)
  child.stdin.on('error', () => undefined) // it may end without reading what it is told
  child.stdin.end(command.input ?? '')
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
    const [code, by] = await closed(child, clock)
    return { code, signal: by, stdout: stdout(), stderr: stderr().toString('utf8'), ended }
  } finally {
    over.abort()
    signal?.removeEventListener('abort', onAbort)
  }
}

/** A command line as a person configures it: a JSON list is run as it is, anything else by the shell. */
export function commandLine(text: string): readonly [string, ...string[]] {
  if (!text.trimStart().startsWith('[')) return ['/bin/sh', '-c', text]
  const list: unknown = JSON.parse(text)
  if (!Array.isArray(list) || list.length === 0 || !list.every((each) => typeof each === 'string')) {
    throw new Error('must be a JSON list of texts, the program first')
  }
  return list as unknown as [string, ...string[]]
}

/** Sends a signal to a process group; one that is gone already is left in peace. */
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
  signalGroup(child.pid, 'SIGCONT') // a stopped process does not hear TERM
  await clock.sleep(graceMs, over).catch(() => undefined)
  if (!over.aborted) signalGroup(child.pid, 'SIGKILL')
}

/**
 * Waits for the end and for the last output. What it left running in its group is ended shortly after it, and a pipe
 * that somebody outside the group still holds is let go.
 */
async function closed(child: ChildProcess, clock: Clock): Promise<[number | null, NodeJS.Signals | null]> {
  const drained = new AbortController()
  child.once('close', () => drained.abort())
  const ending = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => resolve([code, signal]))
  })
  await clock.sleep(OUTPUT_GRACE_MS, drained.signal).catch(() => undefined)
  if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL')
  if (!drained.signal.aborted) await clock.sleep(OUTPUT_GRACE_MS, drained.signal).catch(() => undefined)
  child.stdout?.destroy()
  child.stderr?.destroy()
  return ending
}

/** Keeps the last `max` bytes of a stream, and says when there were more. */
function gather(stream: NodeJS.ReadableStream, max: number, onBeyond?: () => void): () => Buffer {
  let kept: Buffer[] = []
  let size = 0
  stream.on('data', (chunk: Buffer) => {
    kept.push(chunk)
    size += chunk.length
    if (size <= max) return
    if (onBeyond !== undefined) onBeyond()
    const tail = Buffer.concat(kept)
    kept = [tail.subarray(Math.max(0, tail.length - max))]
    size = kept[0]?.length ?? 0
  })
  return () => Buffer.concat(kept)
}
