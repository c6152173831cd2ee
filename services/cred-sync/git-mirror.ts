import { mkdir, readdir, rm, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import type { Clock } from '#runtime/clock.ts'
import { READER_SETTINGS, readerEnv } from '#runtime/git-environment.ts'
import { gitAdviceFor, gitFaultOf, gitMessagesOf } from '#runtime/git-errors.ts'
import type { Env } from '#runtime/read-settings.ts'
import { type Ending, hasSucceeded, runCommand } from '#runtime/run-command.ts'

export interface GitMirrorConfig {
  /** A bare repository of our own, made when missing and made again when broken: it holds nothing that the remote has not. */
  readonly folder: string
  readonly remote: string
  readonly branch: string
  readonly timeoutMs: number
}

export interface GitMirrorParts {
  readonly clock: Clock
  /** Where git and ssh find their home: PATH, HOME, SSH_AUTH_SOCK and the like are taken from it, nothing else. */
  readonly env: Env
  readonly signal: AbortSignal
}

/** Kilobytes of the largest file that git may write here, which bounds a hostile pack. */
const FILE_MAX_KB = 65_536
const ANSWER_MAX = 65_536

/**
 * One branch of a remote, read as blobs from a bare repository: nothing of it is ever checked out, merged, filtered or
 * run. Every git command has a deadline and ends with all its children.
 */
export class GitMirror {
  readonly #config: GitMirrorConfig
  readonly #parts: GitMirrorParts

  constructor(config: GitMirrorConfig, parts: GitMirrorParts) {
    this.#config = config
    this.#parts = parts
  }

  /** The commit at the tip of the branch, asked of the remote; null when it has no such branch. Throws `unavailable`. */
  async tip(): Promise<string | null> {
    const ref = `refs/heads/${this.#config.branch}`
    const answer = await this.#git(
      'asking the remote',
      ['ls-remote', '--refs', '--', this.#config.remote, ref],
      'nowhere',
    )
    for (const line of answer.toString('utf8').split('\n')) {
      const [commit, name] = line.split('\t')
      if (name === ref && commit !== undefined && OBJECT.test(commit)) return commit
    }
    return null
  }

  /** Fetches the tip, whatever its history, and answers its commit. Throws `unavailable`. */
  async fetch(): Promise<string> {
    await this.#prepare()
    const refspec = `+refs/heads/${this.#config.branch}:${TIP}`
    const options = [
      '--depth=1',
      '--no-tags',
      '--no-recurse-submodules',
      '--no-auto-maintenance',
      '--no-write-fetch-head',
      '--force',
    ]
    await this.#git('fetching', ['fetch', '--quiet', ...options, '--', this.#config.remote, refspec])
    const commit = (await this.#git('reading the tip', ['rev-parse', '--verify', `${TIP}^{commit}`]))
      .toString('utf8')
      .trim()
    if (!OBJECT.test(commit)) throw new S2Error('unavailable', 'git named no commit at the tip of the branch')
    return commit
  }

  /** A plain file of a commit; null when there is none. Refuses links, folders, submodules and files of more than `max` bytes. */
  async file(commit: string, path: string, max: number): Promise<Buffer | null> {
    const listing = await this.#git('listing', ['ls-tree', '-z', '-l', commit, '--', path])
    const [entry = ''] = listing.toString('utf8').split('\0')
    if (entry === '') return null
    const match = /^(\d{6}) (\w+) ([0-9a-f]{40,64}) +(\d+|-)\t/.exec(entry)
    const [, mode, kind, object = '', size] = match ?? []
    if (mode !== '100644' || kind !== 'blob') {
      throw new S2Error(
        'invalid',
        `${path} is ${mode === '120000' ? 'a symbolic link' : `no plain file (mode ${mode ?? '?'})`}`,
        {
          next: 'commit it as a plain file with mode 100644',
        },
      )
    }
    if (Number(size) > max) throw new S2Error('too_large', `${path} has ${size} bytes; ${max} are allowed`)
    return await this.#git('reading', ['cat-file', 'blob', object])
  }

  /** Makes the repository where git does not know it as one; removes the locks that a killed git left. */
  async #prepare(): Promise<void> {
    const { folder } = this.#config
    const known = await this.#git('opening the mirror', ['rev-parse', '--is-bare-repository']).then(
      (answer) => answer.toString('utf8').trim() === 'true',
      () => false,
    )
    if (!known) {
      await rm(folder, { recursive: true, force: true })
      await mkdir(folder, { recursive: true, mode: 0o700 })
      await this.#git('making the mirror', ['init', '--quiet', '--bare', '--template=', '--', folder], 'nowhere')
    }
    for (const name of await readdir(folder)) if (name.endsWith('.lock')) await unlink(join(folder, name))
    await unlink(join(folder, `${TIP}.lock`)).catch(() => undefined)
    await rm(join(folder, 'objects', 'pack', '.tmp'), { recursive: true, force: true })
  }

  async #git(doing: string, args: readonly string[], place: 'mirror' | 'nowhere' = 'mirror'): Promise<Buffer> {
    const { clock, env, signal } = this.#parts
    const where = place === 'mirror' ? [`--git-dir=${this.#config.folder}`] : []
    const settings = READER_SETTINGS.flatMap((each) => ['-c', each])
    let ending: Ending
    try {
      ending = await runCommand(
        {
          argv: ['/bin/sh', '-c', `ulimit -f ${FILE_MAX_KB * 2}; exec git "$@"`, 'git', ...settings, ...where, ...args],
          env: readerEnv(env),
          cwd: '/',
          timeoutMs: this.#config.timeoutMs,
          outputMax: ANSWER_MAX,
          beyond: 'end',
        },
        clock,
        signal,
      )
    } catch (cause) {
      throw new S2Error('unavailable', 'git cannot be started', { next: 'install git', cause })
    }
    if (hasSucceeded(ending)) return ending.stdout
    throw new S2Error('unavailable', `git failed ${doing}: ${why(ending)}`, { next: nextStep(ending) })
  }
}

/** The ref of the fetched tip; it is no branch, so that nothing takes it for one. */
const TIP = 'refs/s2/tip'
const OBJECT = /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/

function why(ending: Ending): string {
  return ending.signal === 'SIGXFSZ'
    ? `the remote sent more than ${FILE_MAX_KB / 1024} MB`
    : redact(gitMessagesOf(ending).join('; '))
}

/** What to do next: some faults pass by themselves, the others need a person. */
function nextStep(ending: Ending): string {
  const fault = gitFaultOf(ending)
  return fault === 'other' || fault === 'timeout'
    ? 'it is tried again; the credentials in force stay'
    : gitAdviceFor(fault, 'read')
}
