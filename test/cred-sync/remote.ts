import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CredentialFile, formatCredentialFile } from '#fleet/credential.ts'

/** A git remote on this disk and a clone to push from, for tests. */
export class Remote {
  readonly folder = mkdtempSync(join(tmpdir(), 's2-remote-'))
  readonly bare = join(this.folder, 'remote.git')
  readonly #work = join(this.folder, 'work')

  constructor() {
    this.#git('init', '--quiet', '--bare', '--initial-branch=main', this.bare)
    this.#git('-C', this.bare, 'config', 'receive.denyDeleteCurrent', 'ignore')
    this.#git('init', '--quiet', '--initial-branch=main', this.#work)
  }

  /** Writes a file and pushes it; answers the commit. */
  push(path: string, content: string): string {
    mkdirSync(join(this.#work, path, '..'), { recursive: true })
    writeFileSync(join(this.#work, path), content)
    this.inWork('add', '--all', '.')
    return this.commit()
  }

  /** Commits what is staged and pushes it over whatever is there. */
  commit(): string {
    this.inWork('commit', '--quiet', '--allow-empty', '-m', 'change')
    this.inWork('push', '--quiet', '--force', this.bare, 'HEAD:refs/heads/main')
    return this.inWork('rev-parse', 'HEAD').trim()
  }

  inWork(...args: readonly string[]): string {
    return this.#git('-C', this.#work, ...args)
  }

  /** The folder that changes are made in. */
  get work(): string {
    return this.#work
  }

  #git(...args: readonly string[]): string {
    const who = {
      GIT_AUTHOR_NAME: 't',
      GIT_AUTHOR_EMAIL: 't@example.org',
      GIT_COMMITTER_NAME: 't',
      GIT_COMMITTER_EMAIL: 't@example.org',
    }
    const env = { PATH: process.env.PATH, HOME: this.folder, GIT_CONFIG_NOSYSTEM: '1', ...who }
    return execFileSync('git', args, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  }
}

export const WALL = Date.parse('2026-01-01T00:00:00Z')

/** A credential file for worker 3, good unless changed. */
export function file(over: Partial<CredentialFile> = {}): string {
  return formatCredentialFile({
    conversation: 'conv_00000000000000aa',
    agent: 's2-worker-3',
    role: 'tests',
    token: 'worker-token-for-a-test',
    coordinatorToken: 'coordinator-token-for-a-test',
    bridgeUrl: 'http://127.0.0.1:7433',
    createdAt: WALL,
    expiresAt: WALL + 3_600_000,
    ...over,
  })
}
