/** What the tests of the watcher stand on: watcher processes whose wakes are written down, and inboxes to fill. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { SessionId } from '#fleet/session.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import type { Inbox } from '#spool/inbox.ts'

const main = join(import.meta.dirname, '../../services/fs-watcher/main.ts')

export const parts = { clock: systemClock, chance: systemChance, log: recordingLog() }

export class Stage implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 's2-watcher-'))
  readonly #watchers = new Set<Watcher>()

  /** A state folder of its own. */
  state(name: string): string {
    const path = join(this.folder, name)
    mkdirSync(path, { recursive: true })
    return path
  }

  watch(state: string, settings: Record<string, string> = {}): Watcher {
    const watcher = new Watcher(state, settings)
    this.#watchers.add(watcher)
    return watcher
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#watchers].map((each) => each.kill('SIGKILL')))
    rmSync(this.folder, { recursive: true, force: true })
  }
}

type Event = Readonly<Record<string, unknown>>

/** A watcher process whose wake command appends what it is told to a file; its events can be waited for. */
export class Watcher {
  readonly events: Event[] = []
  readonly child: ReturnType<typeof spawn>
  readonly #state: string
  readonly #ended: Promise<unknown>
  readonly #waiting = new Set<() => void>()

  constructor(state: string, settings: Record<string, string>) {
    const env = {
      PATH: process.env.PATH,
      S2_STATE: state,
      S2_WAKE: `cat >> ${join(state, 'calls')}`,
      S2_POLL: '50ms',
      ...settings,
    }
    this.#state = state
    const child = spawn(process.execPath, [main], { env, stdio: ['ignore', 'pipe', 'inherit'] })
    this.child = child
    this.#ended = once(child, 'close')
    createInterface(child.stdout).on('line', (line) => {
      this.events.push(JSON.parse(line))
      for (const check of this.#waiting) check()
    })
  }

  until(isSo: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (!isSo()) return
        this.#waiting.delete(check)
        resolve()
      }
      this.#waiting.add(check)
      check()
    })
  }

  event(name: string, count = 1): Promise<void> {
    return this.until(() => this.events.filter(({ event }) => event === name).length >= count)
  }

  /** Waits until so many messages were woken for by commands that worked. */
  woken(count: number): Promise<void> {
    const isSum = (): boolean =>
      this.events.filter(({ event }) => event === 'woken').reduce((sum, { messages }) => sum + Number(messages), 0) >=
      count
    return this.until(isSum)
  }

  /** Asks its health. */
  ask(path: string): Promise<{ readonly status: number; readonly body: string }> {
    return new Promise((resolve, reject) => {
      request({ socketPath: join(this.#state, 'run', 'fs-watcher.sock'), path }, (response) => {
        let body = ''
        response.on('data', (chunk) => {
          body += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
      })
        .on('error', reject)
        .end()
    })
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    this.child.kill(signal)
    await this.#ended
  }
}

interface Told {
  readonly count: number
  readonly unread: number
  readonly sessions: readonly SessionId[]
  readonly messages: readonly { readonly id: number; readonly preview: string }[]
  readonly earlier: readonly { readonly id: number }[]
}

/** What the wake commands were told, in the order of the calls. */
export function calls(state: string): Told[] {
  const lines = readFileSync(join(state, 'calls'), 'utf8').trim().split('\n')
  return lines.map((line) => JSON.parse(line) as Told)
}

/** The ids that somebody was woken for, in the order of the calls. */
export function told(state: string): number[] {
  return calls(state).flatMap(({ messages }) => messages.map(({ id }) => id))
}

export const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index)

/** Puts a message into an inbox, as keepalive does. */
export function put(inbox: Inbox, id: number, to: SessionId = 'conv_00000000000000aa/b'): Promise<boolean> {
  const from: SessionId = 'conv_00000000000000aa/a'
  return inbox.put({ id, from, to, text: `text ${id}`, action: null, files: [], sentAt: 0, delivery: 'queued' })
}
