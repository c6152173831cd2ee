import { spawnSync } from 'node:child_process'
import type dgram from 'unix-dgram'
import type { Clock } from './clock.ts'
import { childStdio } from './fd-inheritance.ts'
import type { Log } from './log.ts'
import { Loop } from './loop.ts'
import type { Env } from './read-settings.ts'
import { hasSucceeded, howItEnded, runCommand } from './run-command.ts'

/** Reports the state of the program to systemd, sd_notify(3): datagrams to the socket in NOTIFY_SOCKET. */
export interface Notify {
  /** Sends `NAME=value` lines. Does nothing without a service manager; never throws. */
  say(...lines: readonly string[]): void
  close(): void
}

export interface NotifyParts {
  readonly clock: Clock
  readonly log: Pick<Log, 'info' | 'warn'>
  /** The best means to use. Default: the native module. */
  readonly means?: 'unix-dgram' | 'systemd-notify'
}

const NO_NOTIFY: Notify = { say: () => undefined, close: () => undefined }

/**
 * Opens the notifications. Node has no datagram unix sockets, so a small native module is loaded; where it was not compiled,
 * systemd's own command is used.
 */
export async function openNotify(env: Env, parts: NotifyParts): Promise<Notify> {
  const path = env.NOTIFY_SOCKET
  if (path === undefined || path === '') return NO_NOTIFY
  if (parts.means !== 'systemd-notify') {
    try {
      const { default: native } = await import('unix-dgram')
      return socketNotify(native, path.startsWith('@') ? `\0${path.slice(1)}` : path)
    } catch {
      parts.log.info('systemd notified by systemd-notify: the module unix-dgram was not compiled here')
    }
  }
  return new CommandNotify(env, parts)
}

function socketNotify(native: typeof dgram, address: string): Notify {
  const socket = native.createSocket('unix_dgram')
  socket.on('error', () => undefined)
  return {
    say: (...lines) => {
      const packet = Buffer.from(lines.join('\n'))
      socket.sendto(packet, 0, packet.length, address)
    },
    close: () => socket.close(),
  }
}

/** The limit of one command: systemd-notify waits up to 5 s until systemd has read the message. */
const COMMAND_MS = 8_000
/** The same for a command that blocks the program. */
const SYNC_MS = 2_000
/** The pause after a failure. */
const FAILED_MS = 5_000
/** The pause with nothing to send; a message ends it. */
const IDLE_MS = 60_000
/** How often the watchdog is fed where its timeout is not known. */
const FEED_MS = 7_500

/**
 * Sends by the command systemd-notify. Each message costs a process, so one runs at a time and takes all lines since the one
 * before, and the watchdog is fed only four times in its timeout. systemd accepts such a message where the unit has
 * NotifyAccess=all.
 */
class CommandNotify implements Notify {
  readonly #env: Env
  readonly #parts: NotifyParts
  readonly #closing = new AbortController()
  readonly #loop: Loop
  readonly #feedMs: number
  /** The lines to send; a later value replaces an earlier one. */
  #lines = new Map<string, string>()
  #fedAt = Number.NEGATIVE_INFINITY
  /** Null while notifications work. */
  #failedAt: number | null = null

  constructor({ PATH, NOTIFY_SOCKET, WATCHDOG_USEC }: Env, parts: NotifyParts) {
    this.#env = { PATH, NOTIFY_SOCKET }
    this.#parts = parts
    const timeoutMs = Number(WATCHDOG_USEC) / 1000
    this.#feedMs = timeoutMs > 0 ? timeoutMs / 4 : FEED_MS
    this.#loop = new Loop({
      clock: parts.clock,
      signal: this.#closing.signal,
      step: () => this.#step(),
      onError: (error) => this.#fail(error),
    })
  }

  say(...lines: readonly string[]): void {
    if (this.#closing.signal.aborted) return
    if (lines.some((line) => line.startsWith('EXTEND_')) && !lines.includes('STOPPING=1')) {
      this.#sayNow(lines)
      return
    }
    for (const line of lines) this.#lines.set(line.slice(0, line.indexOf('=')), line)
    this.#loop.nudge()
  }

  close(): void {
    this.#closing.abort()
  }

  /** Sends the waiting lines; answers milliseconds until the next step. */
  async #step(): Promise<number> {
    if (this.#lines.size === 0) return IDLE_MS
    const now = this.#parts.clock.now()
    const isUrgent = [...this.#lines.keys()].some((name) => name !== 'WATCHDOG' && name !== 'STATUS')
    const notBefore = this.#failedAt !== null ? this.#failedAt + FAILED_MS : isUrgent ? now : this.#fedAt + this.#feedMs
    if (now < notBefore) return notBefore - now
    const said = this.#lines
    this.#lines = new Map()
    try {
      await this.#run([...said.values()])
    } catch (error) {
      this.#lines = new Map([...said, ...this.#lines])
      throw error
    }
    if (said.has('WATCHDOG')) this.#fedAt = now
    if (this.#failedAt !== null) this.#parts.log.info('systemd notifications work again')
    this.#failedAt = null
    return 0
  }

  async #run(lines: readonly string[]): Promise<void> {
    const command = {
      argv: ['systemd-notify', ...lines],
      env: this.#env,
      timeoutMs: COMMAND_MS,
      outputMax: 1_000,
      beyond: 'keep_tail',
    } as const
    const ending = await runCommand(command, this.#parts.clock, this.#closing.signal)
    if (!hasSucceeded(ending)) throw new Error(`${howItEnded(ending)}: ${ending.stderr.trim()}`)
  }

  /** Sends before it returns, because the start goes on with a step that may block the event loop. */
  #sayNow(lines: readonly string[]): void {
    const { error, status, signal } = spawnSync('systemd-notify', lines, {
      env: this.#env,
      stdio: childStdio().map((each, place) => (place < 3 ? 'ignore' : each)),
      timeout: SYNC_MS,
    })
    if (error !== undefined || status !== 0) this.#fail(error ?? new Error(`exit code ${status ?? signal}`))
  }

  #fail(error: unknown): number {
    if (this.#failedAt === null) {
      this.#parts.log.warn('systemd notification failed', {
        error,
        next: 'see that systemd-notify is in PATH and that the unit says NotifyAccess=all; or install g++ and python3, and make install again',
      })
    }
    this.#failedAt = this.#parts.clock.now()
    return FAILED_MS
  }
}
