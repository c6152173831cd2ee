import { posix } from 'node:path'
import { REPOSITORY_NAME_MAX, REPOSITORY_NAMES_MAX } from '#fleet/reservation.ts'
import type { Checkout } from './checkout.ts'

/** How many roots of a history are names: one that was joined from several has more. */
const ROOTS_MAX = 2

/**
 * What a repository is called, by which its clones on other hosts are found: the name that its settings give it (`s2.repo`), its
 * remotes without protocol and credentials, and its first commits. Empty where there is nothing of these.
 */
export async function repositoryNames(checkout: Checkout): Promise<string[]> {
  const [named, remotes, roots] = await Promise.all([
    checkout.line('config', '--get', 's2.repo'),
    checkout.lines('remote', '-v'),
    rootsOf(checkout),
  ])
  const urls = remotes
    .map((line) => /^(\S+)\t(.*) \(fetch\)(?: \[.*\])?$/.exec(line))
    .flatMap((found) => (found === null ? [] : [{ remote: found[1], url: found[2] ?? '' }]))
    .sort((one, other) => Number(other.remote === 'origin') - Number(one.remote === 'origin'))
  const own = [...(named === null ? [] : [named]), ...urls.map(({ url }) => nameOfRemote(url, checkout.top))]
  const kept = [...new Set(own)].filter((name) => name !== '' && name.length <= REPOSITORY_NAME_MAX)
  return [...kept.slice(0, REPOSITORY_NAMES_MAX - ROOTS_MAX), ...roots]
}

/** The first commits are alike in all clones, except in one that has not got its history whole. */
async function rootsOf(checkout: Checkout): Promise<string[]> {
  if ((await checkout.line('rev-parse', '--is-shallow-repository')) !== 'false') return []
  const roots = await checkout.lines('rev-list', '--max-parents=0', 'HEAD')
  return roots.slice(-ROOTS_MAX).map((commit) => `root:${commit}`)
}

/**
 * The address of a remote without what differs from host to host: `git@example.org:team/app.git` and
 * `https://token@example.org/team/app` are `example.org/team/app`. A path stays one, and a relative one begins at `from`.
 */
export function nameOfRemote(url: string, from: string): string {
  const parsed = /^[a-z][a-z0-9+.-]*:\/\//i.test(url) && URL.canParse(url) ? new URL(url) : null
  if (parsed !== null && parsed.hostname === '') return withoutEnd(parsed.pathname)
  if (parsed !== null) return withoutEnd(`${parsed.hostname}/${parsed.pathname.replace(/^\/+/, '')}`)
  const short = /^(?:[^@/]*@)?(\[[^\]]*\]|[^:/@]+):(?!\/\/)(.*)$/s.exec(url)
  if (short !== null) return withoutEnd(`${short[1]}/${short[2]?.replace(/^\/+/, '')}`)
  return withoutEnd(posix.resolve(from, url))
}

function withoutEnd(name: string): string {
  return name
    .toLowerCase()
    .replace(/\/+$/, '')
    .replace(/\/?\.git$/, '')
}
