import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import { systemClock } from '#runtime/clock.ts'
import { PATIENCE_MS } from './until.ts'

/** One line of a program's log. */
export type Event = Readonly<Record<string, unknown>>

/** The main module of a program, or of the command line (`cli`). */
export function mainOf(program: string): string {
  return join(import.meta.dirname, '../services', program, 'main.ts')
}

/** A program in a process of its own, whose log events can be waited for. It has only the given settings. */
export class Program implements AsyncDisposable {
  readonly child: ChildProcess
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
  readonly events: Event[] = []
  /** All its output, of both streams. */
  said = ''
  #isOver = false
  #heard = Promise.withResolvers<void>()

  constructor(file: string, settings: Readonly<Record<string, string>>, args: readonly string[] = []) {
    const env = { PATH: process.env.PATH, ...settings }
    const child = spawn(process.execPath, [file, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [child.stdout, child.stderr]) createInterface(stream).on('line', (line) => this.#hear(line))
    this.child = child
    this.ended = once(child, 'close').then(([code, signal]) => {
      this.#isOver = true
      this.#tell()
      return { code, signal }
    })
  }

  eventsOf(name: string): Event[] {
    return this.events.filter(({ event }) => event === name)
  }

  /** Waits until a condition holds after some output. Rejects when the program ends first, or says nothing more. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      if (this.#isOver) throw new Error(`it ended, and had said:\n${this.said}`)
      if ((await waitAtMost(this.#heard.promise, PATIENCE_MS, systemClock)) === LATE)
        throw new Error(`it says nothing more, and had said:\n${this.said}`)
    }
  }

  /** Waits until it has logged an event this many times. */
  says(event: string, times = 1): Promise<void> {
    return this.until(() => this.eventsOf(event).length >= times)
  }

  end(signal: NodeJS.Signals = 'SIGTERM'): Program['ended'] {
    this.child.kill(signal)
    return this.ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL')
  }

  #hear(line: string): void {
    this.said += `${line}\n`
    // A killed program may leave half a line.
    if (line.startsWith('{') && line.endsWith('}')) this.events.push(JSON.parse(line))
    this.#tell()
  }

  #tell(): void {
    const { resolve } = this.#heard
    this.#heard = Promise.withResolvers()
    resolve()
  }
}
