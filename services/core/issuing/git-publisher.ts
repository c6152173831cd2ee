import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import { Pauses } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { gitEnv } from '#runtime/git-environment.ts'
import { gitAdviceFor, gitFaultOf, gitMessagesOf } from '#runtime/git-errors.ts'
import type { Env } from '#runtime/read-settings.ts'
import { type Ending, hasSucceeded, runCommand } from '#runtime/run-command.ts'

export interface GitPublisherConfig {
  readonly remote: string
  readonly branch: string
  /** Bound of one git command. */
  readonly timeoutMs: number
  /** Where it works: a folder of its own, cleared first. A temporary one unless said. */
  readonly folder?: string
}

export interface GitPublisherParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly env: Env
}

const TRIES = 12
const RETRY = { firstMs: 100, mostMs: 3_000 }
const ANSWER_MAX = 262_144
const TIP = 'refs/s2/tip'

/** Somebody else pushed between our fetch and our push: git's several ways to say so. */
const OVERTAKEN = /\[(remote )?rejected\]|non-fast-forward|fetch first|stale info|cannot lock ref|failed to update ref/i

/** No hooks of anybody run here; what a person configured to reach remotes (helpers, keys, proxies) is left in force. */
export const PUBLISHER_SETTINGS = [
  'core.hooksPath=/dev/null',
  'core.autocrlf=false',
  'gc.auto=0',
  'maintenance.auto=false',
]

/**
 * A branch of a git remote as a place to publish files: new content is committed on top of whatever is there and
 * pushed, and no checkout anywhere is touched. It holds secrets while it works, so its repository is a private
 * temporary folder that is removed by dispose.
 */
export class GitPublisher implements AsyncDisposable {
  readonly #config: GitPublisherConfig
  readonly #parts: GitPublisherParts
  readonly #folder: string

  private constructor(config: GitPublisherConfig, parts: GitPublisherParts, folder: string) {
    this.#config = config
    this.#parts = parts
    this.#folder = folder
  }

  /** Throws `unavailable` where git cannot run. */
  static async open(config: GitPublisherConfig, parts: GitPublisherParts): Promise<GitPublisher> {
    const folder = config.folder ?? (await mkdtemp(join(parts.env.TMPDIR ?? tmpdir(), 's2-publication-')))
    if (config.folder !== undefined) {
      await rm(folder, { recursive: true, force: true })
      await mkdir(folder, { mode: 0o700 })
    }
    const publisher = new GitPublisher(config, parts, folder)
    try {
      await publisher.#git('making a repository', ['init', '--quiet', '--bare', '--template=', '.'])
    } catch (error) {
      await publisher[Symbol.asyncDispose]()
      throw error
    }
    return publisher
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true })
  }

  /** The content of a file at the tip of the branch; null when there is no such file or branch. Throws `unavailable`. */
  async read(path: string): Promise<Buffer | null> {
    const tip = await this.#fetch()
    if (tip === null) return null
    const listing = await this.#git('listing', ['ls-tree', '-z', tip, '--', path])
    if (listing.length === 0) return null
    return await this.#git('reading', ['cat-file', 'blob', `${tip}:${path}`])
  }

  /**
   * Publishes files (path → content) in one commit, on top of what others push meanwhile. Answers the commit; the present
   * one when nothing had to change. Throws `unavailable`, or `conflict` when others were faster every time.
   */
  async publish(files: ReadonlyMap<string, string>, message: string): Promise<string> {
    const { clock, chance } = this.#parts
    const pauses = new Pauses(RETRY, chance)
    while (pauses.failures < TRIES) {
      const tip = await this.#fetch()
      const commit = await this.#commit(tip, files, message)
      if (commit === tip) return commit
      if (await this.#push(commit)) return commit
      await pauses.wait(clock)
    }
    throw new S2Error(
      'conflict',
      `branch ${this.#config.branch} of the remote changed before each of ${TRIES} pushes`,
      {
        next: 'try again when less is pushed there, or check that this host may push to the branch',
      },
    )
  }

  async #fetch(): Promise<string | null> {
    const { remote, branch } = this.#config
    const ref = `refs/heads/${branch}`
    const heads = await this.#git('asking the remote', ['ls-remote', '--refs', '--', remote, ref])
    if (!heads.toString('utf8').includes(`\t${ref}`)) return null
    const options = ['--quiet', '--depth=1', '--no-tags', '--no-write-fetch-head', '--force']
    await this.#git('fetching', ['fetch', ...options, '--', remote, `+${ref}:${TIP}`])
    return await this.#line('reading the tip', ['rev-parse', '--verify', `${TIP}^{commit}`])
  }

  async #commit(tip: string | null, files: ReadonlyMap<string, string>, message: string): Promise<string> {
    await this.#git('reading the tree', tip === null ? ['read-tree', '--empty'] : ['read-tree', tip])
    for (const [path, content] of files) {
      const blob = await this.#line('storing a file', ['hash-object', '-w', '--stdin'], content)
      await this.#git('placing a file', ['update-index', '--add', '--cacheinfo', `100644,${blob},${path}`])
    }
    const tree = await this.#line('writing the tree', ['write-tree'])
    if (tip !== null && tree === (await this.#line('reading the tip', ['rev-parse', `${tip}^{tree}`]))) return tip
    return await this.#line('committing', ['commit-tree', tree, ...(tip === null ? [] : ['-p', tip])], `${message}\n`)
  }

  /** Answers false when somebody else was faster. */
  async #push(commit: string): Promise<boolean> {
    const { remote, branch } = this.#config
    const ending = await this.#run(['push', '--quiet', '--', remote, `${commit}:refs/heads/${branch}`], '')
    if (hasSucceeded(ending)) return true
    if (OVERTAKEN.test(ending.stderr) && !/hook declined|protected branch/i.test(ending.stderr)) return false
    throw refused('pushing', ending)
  }

  async #line(doing: string, args: readonly string[], input = ''): Promise<string> {
    return (await this.#git(doing, args, input)).toString('utf8').trim()
  }

  async #git(doing: string, args: readonly string[], input = ''): Promise<Buffer> {
    const ending = await this.#run(args, input)
    if (hasSucceeded(ending)) return ending.stdout
    throw refused(doing, ending)
  }

  async #run(args: readonly string[], input: string): Promise<Ending> {
    const { clock, env } = this.#parts
    const settings = PUBLISHER_SETTINGS.flatMap((each) => ['-c', each])
    try {
      return await runCommand(
        {
          argv: ['git', ...settings, ...args],
          input,
          env: publisherEnv(env, this.#folder),
          cwd: this.#folder,
          timeoutMs: this.#config.timeoutMs,
          outputMax: ANSWER_MAX,
          beyond: 'end',
        },
        clock,
      )
    } catch (cause) {
      throw new S2Error('unavailable', 'git cannot be started', { next: 'install git', cause })
    }
  }
}

/** Makes a bare repository to publish in, unless it is there. Throws `unavailable`. */
export async function makeRemote(
  folder: string,
  branch: string,
  timeoutMs: number,
  { clock, env }: Pick<GitPublisherParts, 'clock' | 'env'>,
): Promise<void> {
  // git makes folders by the umask, and this one holds credentials.
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await chmod(folder, 0o700)
  const argv = ['git', 'init', '--quiet', '--bare', `--initial-branch=${branch}`, '--', folder] as const
  const bounds = { timeoutMs, outputMax: ANSWER_MAX, beyond: 'end' } as const
  const ending = await runCommand({ argv: [...argv], env: publisherEnv(env, null), ...bounds }, clock)
  if (!hasSucceeded(ending)) throw refused(`making ${folder}`, ending)
}

/** The caller's environment, without what would lead git elsewhere (as in a hook) and without questions to a terminal. */
export function publisherEnv(env: Env, folder: string | null): Env {
  const kept = Object.entries(env).filter(([name]) => !/^(GIT_(?!SSH|ASKPASS|CONFIG|TRACE)|S2_)/.test(name))
  return {
    ...Object.fromEntries(kept),
    ...gitEnv(env),
    GIT_AUTHOR_NAME: 's2',
    GIT_AUTHOR_EMAIL: 's2@localhost',
    GIT_COMMITTER_NAME: 's2',
    GIT_COMMITTER_EMAIL: 's2@localhost',
    ...(folder === null ? {} : { GIT_DIR: folder, GIT_INDEX_FILE: join(folder, 'index') }),
  }
}

function refused(doing: string, ending: Ending): S2Error {
  const why = redact(gitMessagesOf(ending).join('; '))
  return new S2Error('unavailable', `git failed ${doing}: ${why}`, { next: gitAdviceFor(gitFaultOf(ending), 'push') })
}
