import { isUtf8 } from 'node:buffer'
import { type Chance, type Clock, systemClock } from '#runtime/clock.ts'

/** All of the outside world that a command uses; tests pass another one. */
export interface CommandContext {
  readonly env: Readonly<Record<string, string | undefined>>
  /** The working folder. */
  readonly folder: string
  readonly clock: Clock
  readonly chance: Chance
  readonly screen: Screen
  /** Writes to standard output, which holds the result alone. */
  print(text: string): void
  /** Waits until standard output has taken all that was printed; false where it could not, as on a full disk. */
  flush(): Promise<boolean>
  /** Writes to standard error, which holds messages for a person. */
  tell(text: string): void
  /** All of standard input, up to `max` bytes of it. */
  input(max: number): Promise<string>
  /** Whether a person can answer: standard input is a terminal too. */
  readonly isAttended: boolean
  /**
   * Asks a person at the terminal for a line; null when they decline (Ctrl-C, the end of input). With `isWhole`, reads on until
   * it says so of all that came, or an empty line comes: what is pasted may have breaks, and its rest is not for the shell.
   */
  ask(question: string, isWhole?: (text: string) => boolean): Promise<string | null>
  /** Calls back for each of these signals until disposed. */
  onSignal(signals: readonly NodeJS.Signals[], heard: (signal: NodeJS.Signals) => void): Disposable
  /** Calls back for each key until disposed; never without a terminal. Ctrl-C comes as a key, `\x03`. */
  onKey(heard: (key: string) => void): Disposable
  /** Calls back when the window changes its size. */
  onResize(heard: () => void): Disposable
  /** Calls back when the process ends, except by KILL. */
  onExit(heard: () => void): Disposable
  /** Replaces this process with another program. Answers its exit code only in tests, which run it as a child. */
  become(argv: readonly [string, ...string[]]): Promise<number>
}

/** The terminal, or what stands for it in a pipe. */
export interface Screen {
  readonly isTerminal: boolean
  /** Infinity in a pipe or a file, where no window bounds a line. */
  readonly columns: number
  readonly rows: number
  /** Whether text may be coloured: a terminal, and NO_COLOR is not set (no-color.org). */
  readonly coloured: boolean
}

export const ENDING_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Where the folder was removed since the shell went there, its name: what needs the folder says that it is missing. */
function workingFolder({ PWD }: CommandContext['env']): string {
  try {
    return process.cwd()
  } catch {
    return PWD?.startsWith('/') ? PWD : '/'
  }
}

export function systemContext(env: CommandContext['env']): CommandContext {
  const { stdout, stderr } = process
  for (const stream of [stdout, stderr]) stream.on('error', onUnwritable)
  return {
    env,
    folder: workingFolder(env),
    clock: systemClock,
    chance: Math.random,
    screen: {
      isTerminal: stdout.isTTY === true,
      get columns() {
        return stdout.columns || Number.POSITIVE_INFINITY // a terminal without a size reports 0
      },
      get rows() {
        return stdout.rows ?? 24
      },
      coloured: stdout.isTTY === true && (env.NO_COLOR ?? '') === '',
    },
    isAttended: process.stdin.isTTY === true,
    print: (text) => void stdout.write(text),
    // The error of an earlier write is told by an event, which may come after this write's answer.
    flush: () => new Promise((resolve) => stdout.write('', () => setImmediate(() => resolve(!unwritable)))),
    tell: (text) => void stderr.write(text),
    input: readInput,
    ask: askLine,
    onSignal: (signals, heard) => {
      for (const signal of signals) process.on(signal, heard)
      return disposing(() => {
        for (const signal of signals) process.off(signal, heard)
      })
    },
    onKey: listenToKeys,
    onResize: (heard) => {
      stdout.on('resize', heard)
      return disposing(() => stdout.off('resize', heard))
    },
    onExit: (heard) => {
      process.once('exit', heard)
      return disposing(() => process.off('exit', heard))
    },
    become: async (argv) => {
      const own = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined)
      if (process.execve === undefined) throw new Error('this platform has no execve(2)')
      return process.execve(argv[0], argv, Object.fromEntries(own))
    },
  }
}

function disposing(end: () => void): Disposable {
  return { [Symbol.dispose]: end }
}

function listenToKeys(heard: (key: string) => void): Disposable {
  const { stdin } = process
  if (stdin.isTTY !== true) return disposing(() => undefined)
  const onData = (chunk: Buffer): void => {
    for (const key of chunk.toString('utf8')) heard(key)
  }
  stdin.setRawMode(true)
  stdin.resume()
  stdin.on('data', onData)
  return disposing(() => {
    stdin.off('data', onData)
    stdin.setRawMode(false)
    stdin.pause()
  })
}

/** A closed pipe (`s2 status | head`) is no failure; a full disk is one. */
function onUnwritable(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE' || unwritable) return
  unwritable = true
  process.once('exit', () => {
    process.exitCode ||= 1 // failed; what names the codes is not loaded here, because start-up time counts
  })
  process.stderr.write(`s2: the answer could not be written: ${error.message}\n`)
}

let unwritable = false

/** The question goes to standard error, so that standard output holds the result alone. */
async function askLine(question: string, isWhole: (text: string) => boolean = () => true): Promise<string | null> {
  const { createInterface } = await import('node:readline/promises')
  const lines = createInterface({ input: process.stdin, output: process.stderr, prompt: question })
  lines.prompt()
  let text = ''
  try {
    for await (const line of lines) {
      text += text === '' ? line : `\n${line}`
      if (line.trim() === '' || isWhole(text)) return text
    }
    process.stderr.write('\n')
    return null
  } finally {
    lines.close()
  }
}

async function readInput(max: number): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    size += chunk.length
    if (size > max) break
  }
  const input = Buffer.concat(chunks)
  if (size <= max && !isUtf8(input)) {
    const { UsageError } = await import('./failure.ts')
    throw new UsageError('standard input is not text in UTF-8', 'put it into a file in git and send its path')
  }
  return input.subarray(0, max).toString('utf8')
}
