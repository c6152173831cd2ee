import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Credential } from '#fleet/credential.ts'
import { sessionId } from '#fleet/session-id.ts'
import { type HostIdentity, makeIdentity } from '#identity/identity-file.ts'
import { entryFor, formatManifest, MANIFEST_PATH } from '#identity/manifest.ts'
import { sealCredential } from '#identity/sealed-credential.ts'

/** A git remote on this disk and a clone to push from, for tests. */
export class Remote {
  readonly folder = mkdtempSync(join(tmpdir(), 's2-remote-'))
  readonly bare = join(this.folder, 'remote.git')
  readonly #work = join(this.folder, 'work')

  constructor(format: 'sha1' | 'sha256' = 'sha1') {
    this.#git('init', '--quiet', '--bare', `--object-format=${format}`, '--initial-branch=main', this.bare)
    this.#git('-C', this.bare, 'config', 'receive.denyDeleteCurrent', 'ignore')
    this.#git('init', '--quiet', `--object-format=${format}`, '--initial-branch=main', this.#work)
  }

  /** Writes a file and pushes it; answers the commit. */
  push(path: string, content: string): string {
    mkdirSync(join(this.#work, path, '..'), { recursive: true })
    writeFileSync(join(this.#work, path), content)
    this.inWork('add', '--all', '.')
    return this.commit()
  }

  /** The same for several files at once. */
  pushAll(files: Readonly<Record<string, string>>): string {
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(join(this.#work, path, '..'), { recursive: true })
      writeFileSync(join(this.#work, path), content)
    }
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

/** The plain credential file of worker 3 as the older scripts write it, good unless changed. */
export function plainFile(over: Readonly<Record<string, unknown>> = {}): string {
  const fields = {
    conversation_id: 'conv_00000000000000aa',
    worker_id: 's2-worker-3',
    worker_role: 'tests',
    coordinator_token: 'coordinator-token-for-a-test',
    worker_token: 'worker-token-for-a-test',
    created_at: new Date(WALL).toISOString(),
    expires_at: new Date(WALL + 3_600_000).toISOString(),
    bridge_url: 'http://127.0.0.1:7433',
    ...over,
  }
  return `${JSON.stringify(fields, null, 2)}\n`
}

export const PATH_3 = 'credentials/s2-worker-3-credentials.json'

/** The credential of worker 3, good unless changed. */
function credential(over: Partial<Credential> = {}): Credential {
  return {
    session: sessionId('conv_00000000000000aa', 'b'),
    token: 'worker-token-for-a-test',
    agent: 's2-worker-3',
    role: 'tests',
    bridgeUrl: 'http://127.0.0.1:7433',
    createdAt: WALL,
    expiresAt: WALL + 3_600_000,
    ...over,
  }
}

/** An orchestrator and the host of worker 3, which has joined. */
export async function makeFleet() {
  const orchestrator: HostIdentity = { ...(await makeIdentity()), membership: null }
  const membership = {
    agent: 's2-worker-3',
    orchestrator: { key: orchestrator.key, recipient: orchestrator.recipient },
    bridgeUrl: 'http://127.0.0.1:7433',
    remote: null,
    branch: 'main',
  }
  const host: HostIdentity = { ...(await makeIdentity()), membership }
  const stranger: HostIdentity = { ...(await makeIdentity()), membership }
  return { orchestrator, host, stranger }
}

export type TestFleet = Awaited<ReturnType<typeof makeFleet>>

/** The files by which a credential of worker 3 is published: the sealed one, and the list of them. */
export async function published(
  { orchestrator, host }: TestFleet,
  over: Partial<Credential> = {},
  { recipient = host.recipient, key = host.key, signer = orchestrator, serial = WALL } = {},
): Promise<Record<string, string>> {
  const sealed = await sealCredential(credential(over), recipient, signer)
  const list = [entryFor(PATH_3, key, over.createdAt ?? WALL, sealed)]
  return {
    [PATH_3]: sealed,
    [MANIFEST_PATH]: formatManifest({ serial: Math.max(serial, over.createdAt ?? WALL), files: list }, signer),
  }
}
