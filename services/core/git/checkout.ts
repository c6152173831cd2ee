import { resolve } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Env } from '#runtime/read-settings.ts'
import { type Ending, hasSucceeded, howItEnded, runCommand } from '#runtime/run-command.ts'

/**
 * Git as it runs in a checkout of somebody else: with the settings of its owner, but without prompts, watchers, index refreshes and
 * fetches. A repository that strangers made could have each of these run a command.
 */
const ENV = {
  LC_ALL: 'C',
  GIT_OPTIONAL_LOCKS: '0',
  GIT_TERMINAL_PROMPT: '0',
  GIT_NO_LAZY_FETCH: '1',
  GIT_ALLOW_PROTOCOL: 'none',
} as const
const SETTINGS = ['-c', 'core.fsmonitor=false', '-c', 'core.quotePath=false'] as const
const GIT_MS = 10_000
const ANSWER_MAX = 64 * 1024 * 1024

export interface CheckoutParts {
  readonly clock: Clock
  /** The whole environment: in a hook it names the index and the folder of the commit that is made. */
  readonly env: Env
  readonly signal?: AbortSignal
}

/** A checkout of a repository that agents and people work in. S2 reads it, and changes nothing in it. */
export class Checkout {
  /** Its uppermost folder. */
  readonly top: string
  /** The folder of git for this worktree. */
  readonly gitFolder: string
  /** The folder of git that all worktrees of the repository share. */
  readonly commonFolder: string
  /** The folder that was asked for, from the top: empty, or with a slash at its end. */
  readonly prefix: string
  readonly #parts: CheckoutParts

  private constructor(folders: Pick<Checkout, 'top' | 'gitFolder' | 'commonFolder' | 'prefix'>, parts: CheckoutParts) {
    this.top = folders.top
    this.gitFolder = folders.gitFolder
    this.commonFolder = folders.commonFolder
    this.prefix = folders.prefix
    this.#parts = parts
  }

  /** The checkout that a folder lies in. Throws `not_found` where it lies in none. */
  static async at(folder: string, parts: CheckoutParts): Promise<Checkout> {
    const asked = ['rev-parse', '--show-toplevel', '--git-dir', '--git-common-dir', '--show-prefix']
    const ending = await git(folder, asked, parts)
    const [top, gitFolder, commonFolder, prefix = ''] = ending.stdout.toString('utf8').trimEnd().split('\n')
    if (!hasSucceeded(ending) || top === undefined || gitFolder === undefined || commonFolder === undefined) {
      throw new S2Error('not_found', `${folder} is no checkout of a git repository (${whyOf(ending)})`, {
        next: 'go into a checkout; s2 hooks takes the folder of one by --repo',
      })
    }
    return new Checkout(
      { top, gitFolder: resolve(folder, gitFolder), commonFolder: resolve(folder, commonFolder), prefix },
      parts,
    )
  }

  /** What a git command prints; null where it fails. `top` is its working folder. */
  async ask(...args: readonly string[]): Promise<Buffer | null> {
    const ending = await git(this.top, args, this.#parts)
    return hasSucceeded(ending) ? ending.stdout : null
  }

  /** The names of files that a git command prints with `-z`, from the top of the checkout; null where it fails. */
  async files(...args: readonly string[]): Promise<string[] | null> {
    const text = (await this.ask(...args))?.toString('utf8')
    return text === undefined ? null : text.split('\0').filter((name) => name !== '')
  }

  /** What a git command prints whose exit code is 0 or 1, where 1 is an answer as well; null where it fails. */
  async askEither(...args: readonly string[]): Promise<Buffer | null> {
    const { code, ended, stdout } = await git(this.top, args, this.#parts)
    return ended === null && (code === 0 || code === 1) ? stdout : null
  }

  /** The first line of it as text; null where it fails or prints nothing. */
  async line(...args: readonly string[]): Promise<string | null> {
    const [first = ''] = await this.lines(...args)
    return first === '' ? null : first
  }

  /** Its lines as text; none where it fails. */
  async lines(...args: readonly string[]): Promise<string[]> {
    const text = (await this.ask(...args))?.toString('utf8').trimEnd() ?? ''
    return text === '' ? [] : text.split('\n')
  }
}

async function git(cwd: string, args: readonly string[], { clock, env, signal }: CheckoutParts): Promise<Ending> {
  const argv = ['git', ...SETTINGS, ...args] as const
  const bounds = { timeoutMs: GIT_MS, outputMax: ANSWER_MAX, beyond: 'end' } as const
  return await runCommand({ argv: [...argv], cwd, env: { ...env, ...ENV }, ...bounds }, clock, signal)
}

function whyOf(ending: Ending): string {
  const [said = ''] = ending.stderr.trim().split('\n')
  return said === '' ? howItEnded(ending) : said
}
