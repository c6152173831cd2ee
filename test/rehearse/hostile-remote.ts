import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { credentialPath } from '#fleet/credential.ts'
import { MANIFEST_PATH } from '#identity/manifest.ts'
import { systemClock } from '#runtime/clock.ts'
import { askHealth, healthSocket } from '#runtime/health-client.ts'
import { until } from '../until.ts'
import { conversationOf, everyWorker, type Ground, holds } from './drills.ts'
import { workerOf } from './stage.ts'

const FOREIGN = 'credentials/mallory-credentials.json'
/** Far more than any credential may have. */
const HUGE = 'x'.repeat(5_000_000)

/** A clone of the remote whose owner may push whatever they like. */
class Hostile {
  readonly #work: string
  readonly #env: NodeJS.ProcessEnv

  constructor({ remote, folder }: Pick<Ground, 'remote' | 'folder'>) {
    this.#work = mkdtempSync(join(folder, 'hostile-'))
    this.#env = { PATH: process.env.PATH, HOME: this.#work, GIT_CONFIG_NOSYSTEM: '1' }
    this.#git('--git-dir', remote, 'config', 'receive.denyNonFastForwards', 'false') // whoever serves it allows it
    this.#git('clone', '--quiet', remote, '.')
    this.#git('config', 'user.name', 'mallory')
    this.#git('config', 'user.email', 'mallory@example.org')
  }

  /** What the branch has under this name; null: nothing. */
  show(path: string): string | null {
    this.#git('fetch', '--quiet', 'origin', '+refs/heads/main:refs/remotes/origin/main')
    try {
      return this.#git('show', `origin/main:${path}`)
    } catch {
      return null
    }
  }

  /** Replaces files of the branch, on its history or on one that has nothing of it; null removes one. */
  write(files: ReadonlyMap<string, string | null>, history: 'its' | 'another' = 'its'): void {
    this.#git('fetch', '--quiet', 'origin', '+refs/heads/main:refs/remotes/origin/main')
    this.#git('checkout', '--quiet', '--force', '--detach', 'origin/main')
    if (history === 'another') {
      this.#git('checkout', '--quiet', '--orphan', `other-${Date.now()}`)
      this.#git('rm', '--quiet', '-r', '--force', '.')
    }
    for (const [path, content] of files) {
      if (content === null) this.#git('rm', '--quiet', '--force', path)
      else {
        mkdirSync(join(this.#work, 'credentials'), { recursive: true })
        writeFileSync(join(this.#work, path), content)
        this.#git('add', path)
      }
    }
    this.#git('commit', '--quiet', '-m', 'hostile')
    this.#git('push', '--quiet', '--force', 'origin', 'HEAD:main')
  }

  #git(...args: string[]): string {
    const stdio: ['ignore', 'pipe', 'pipe'] = ['ignore', 'pipe', 'pipe']
    return execFileSync('git', args, { cwd: this.#work, env: this.#env, encoding: 'utf8', stdio, maxBuffer: 2 ** 26 })
  }
}

/** Somebody writes to the git remote as they like, again and again before it is put right. */
export async function hostileRemote(ground: Ground): Promise<void> {
  const { telling, store } = ground
  const hostile = new Hostile(ground)
  const openedBefore = (await store.incidents({ open: false })).map(({ id }) => id)
  const [one, two] = [1, 2].map((each) => credentialPath(workerOf(each)))
  const [first, second] = [hostile.show(one ?? ''), hostile.show(two ?? '')]
  await ground.holdIssuer(true)
  try {
    hostile.write(new Map([[one ?? '', second]]))
    await refusedBy(ground, [1], 'a credential of another')
    hostile.write(new Map([[two ?? '', forged(second ?? '')]]))
    await refusedBy(ground, [2], 'a forged credential')
    hostile.write(new Map([[FOREIGN, first]]), 'another')
    await refusedBy(ground, everyWorker(ground), 'another history without a list')
    hostile.write(new Map([[MANIFEST_PATH, HUGE]]))
    await refusedBy(ground, everyWorker(ground), 'a list of 5 MB')
  } finally {
    await ground.holdIssuer(false)
  }
  const began = performance.now()
  await until('the branch is put right', async () => await isRight(ground, hostile))
  const isInTime = ground.note(
    'the git remote spoiled: put right once the issuer looked',
    performance.now() - began,
    65,
  )
  telling.check('the issuer has put it right', isInTime)
  await until('nobody complains any more', async () => {
    await hint(ground)
    return (await complaints(ground)).every((each) => each === undefined)
  })
  const told = async (cause: string) =>
    (await store.incidents({ open: false })).filter((each) => each.cause === cause && !openedBefore.includes(each.id))
  const isTold = async (cause: string): Promise<boolean> => (await told(cause)).length > 0
  await until('it is told', async () => (await isTold('credentials:altered')) && (await isTold('credentials:foreign')))
  hostile.write(new Map([[FOREIGN, null]]))
  const causes = ['credentials:altered', 'credentials:foreign']
  const areOver = async (): Promise<boolean> =>
    (await Promise.all(causes.map(told))).flat().every(({ closedAt }) => closedAt !== null)
  await until('it is over', areOver)
  const times = (await Promise.all(causes.map(told))).map(({ length }) => length)
  telling.check(
    'people were told once that somebody had altered it, and once of the foreign file',
    times.every((each) => each === 1),
    times.join(),
  )
}

/** These hosts say that they do not take it, and each host keeps a credential that counts. */
async function refusedBy(ground: Ground, workers: readonly number[], what: string): Promise<void> {
  const { telling } = ground
  const before = await complaints(ground)
  const began = performance.now()
  const hinted = setInterval(() => void hint(ground).catch(() => undefined), 1_500)
  try {
    await hint(ground)
    await until(`${what} is refused`, async () => {
      const after = await complaints(ground)
      return workers.every((each) => after[each - 1] !== undefined && after[each - 1] !== before[each - 1])
    })
  } finally {
    clearInterval(hinted)
  }
  const took = performance.now() - began
  const held = await Promise.all(everyWorker(ground).map((each) => holds(ground, each)))
  telling.check(
    `${what} is refused by ${workers.length === 1 ? workerOf(workers[0] ?? 0) : 'all'}, and the credentials in force stay`,
    held.every((each) => each) && ground.note(`${what}: refused, and said so`, took, 65),
    held.join(),
  )
}

/** What each worker's cred-sync has against the remote. */
async function complaints(ground: Ground): Promise<(string | undefined)[]> {
  const ask = async (worker: number): Promise<string | undefined> => {
    const path = healthSocket(ground.stateOf(workerOf(worker)), 'cred-sync')
    return (await askHealth('cred-sync', { path }, systemClock)).troubles.remote
  }
  return await Promise.all(everyWorker(ground).map(ask))
}

async function hint(ground: Ground): Promise<void> {
  await ground.store.hintCredentials(everyWorker(ground).map((each) => conversationOf(ground, each)))
}

/** Whether the branch holds for each worker what was published for it. */
async function isRight(ground: Ground, hostile: Hostile): Promise<boolean> {
  for (const { agent, key } of await ground.store.workers()) {
    const published = key === null ? null : await ground.store.publishedCredential(key)
    if (published === null || published !== hostile.show(credentialPath(agent))) return false
  }
  return true
}

/** The same file with a later serial, which its signature does not cover. */
function forged(file: string): string {
  const serial = /("serial": ?)(\d+)/.exec(file)
  if (serial === null) throw new Error(`a published credential has no serial: ${file.slice(0, 100)}`)
  return file.replace(serial[0], `${serial[1]}${Number(serial[2]) + 1}`)
}
