import { execFile, execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { until } from '../until.ts'

const run = promisify(execFile)

/** Within these a client shows what was typed, and what it does: far longer than it takes, on a machine with much else to do. */
const TYPED_MS = 20_000
const SHOWN_MS = 60_000

/** A terminal that a program runs in: a pane of a tmux server of its own, which ends with it. */
export class Terminal {
  readonly socket: string
  readonly #env: NodeJS.ProcessEnv

  private constructor(folder: string, env: NodeJS.ProcessEnv) {
    this.socket = join(folder, 'tmux')
    this.#env = env
  }

  /** Starts a command in a terminal of 160 × 50. `env` is all that it and the tmux server know. */
  static async start(
    place: { readonly folder: string; readonly cwd: string; readonly env: NodeJS.ProcessEnv },
    command: readonly string[],
  ): Promise<Terminal> {
    const terminal = new Terminal(place.folder, place.env)
    const size = ['-x', '160', '-y', '50']
    await terminal.#tmux('-f', '/dev/null', 'new-session', '-d', ...size, '-s', 's2', '-c', place.cwd, ...command)
    return terminal
  }

  /** The pane as tmux numbers it: `%0`. */
  get pane(): string {
    return execFileSync('tmux', ['-S', this.socket, 'display-message', '-p', '#{pane_id}'], {
      env: this.#env,
      encoding: 'utf8',
    }).trim()
  }

  /** What stands on it now. */
  async screen(): Promise<string> {
    return await this.#tmux('capture-pane', '-p', '-J').catch((error: Error) => `(no terminal: ${error.message})`)
  }

  /** Types a text, and presses Enter after a pause: a client takes what comes together for pasted. */
  async type(text: string): Promise<void> {
    await this.write(text)
    await this.press('Enter')
  }

  /** Types a text, and leaves it there. */
  async write(text: string): Promise<void> {
    await this.#tmux('send-keys', '-l', '--', text)
    await this.shows(new RegExp(literally(text.slice(0, 40))), TYPED_MS)
  }

  /** Presses keys by tmux's names: `Enter`, `Escape`, `Down`, `C-c`. */
  async press(...keys: readonly string[]): Promise<void> {
    await this.#tmux('send-keys', ...keys)
  }

  /** Waits until something stands there; the error shows what does. */
  async shows(text: RegExp, mostMs = SHOWN_MS): Promise<string> {
    let seen = ''
    const isThere = async (): Promise<boolean> => {
      seen = await this.screen()
      return text.test(seen)
    }
    await until(`the terminal shows ${text}`, isThere, mostMs).catch((error: Error) => {
      throw new Error(`${error.message}; it shows:\n${seen.trim()}`)
    })
    return seen
  }

  async #tmux(...args: readonly string[]): Promise<string> {
    return (await run('tmux', ['-S', this.socket, ...args], { env: this.#env })).stdout
  }
}

function literally(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}
