import { homedir } from 'node:os'
import { resolve } from 'node:path'
import { formatDuration, parseDuration } from './duration.ts'

/**
 * How the value of a setting is read from text. Each parser throws an `Error` that says what is wrong with the value and
 * does not repeat it: it may be a secret.
 */

/** A duration in milliseconds, between two bounds. */
export function durationBetween(minMs: number, maxMs: number) {
  return (text: string): number => {
    const ms = parseDuration(text)
    if (ms < minMs || ms > maxMs)
      throw new Error(`must lie between ${formatDuration(minMs)} and ${formatDuration(maxMs)}`)
    return ms
  }
}

export function integerBetween(min: number, max: number) {
  return (text: string): number => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
    if (!(value >= min && value <= max)) throw new Error(`must be a whole number from ${min} to ${max}`)
    return value
  }
}

export function word<const W extends string>(words: readonly W[]) {
  return (text: string): W => {
    const found = words.find((each) => each === text)
    if (found === undefined) throw new Error(`must be one of ${words.join(', ')}`)
    return found
  }
}

/** Some of these words, each once, with commas between. */
export function listOfWords<const W extends string>(words: readonly W[]) {
  return (text: string): readonly W[] => [...new Set(list(text).map(word(words)))]
}

export function matching(pattern: RegExp, message: string) {
  return (text: string): string => {
    if (!pattern.test(text)) throw new Error(message)
    return text
  }
}

export function url(...protocols: readonly string[]) {
  return (text: string): string => {
    const parsed = URL.canParse(text) ? new URL(text) : undefined
    if (parsed === undefined || !protocols.includes(parsed.protocol))
      throw new Error(`must be a URL with ${protocols.join(' or ')}`)
    if (parsed.password !== '') throw new Error('must not carry a password')
    return text
  }
}

/** What git takes for a remote. A password in it would be shown by `ps` and lie in settings that many may read. */
export function gitRemoteAddress(text: string): string {
  if (!/^(?!-)\S(.*\S)?$/.test(text)) throw new Error('must be a git URL or path')
  if (/^(?:[a-z0-9]+::)?[a-z][a-z0-9+.-]*:\/\/[^/]*:[^/]*@/i.test(text)) {
    throw new Error('must not carry a password: use ssh, or put it into ~/.netrc of the user that git runs as')
  }
  // Tokens of GitHub and GitLab also go in the place of the name.
  if (/^https?:\/\/(gh[a-z]_|github_pat_|glpat-)[^/]*@/i.test(text)) {
    throw new Error('must not carry a token: put it into ~/.netrc of the user that git runs as')
  }
  return text
}

export const gitBranchName = matching(/^(?![-/.])(?!.*(\.\.|\/\/|@\{))[\w./-]{1,200}$/, 'must be a branch name')

export const text = matching(/\S/, 'must not be empty')
/** An absolute path; `~` is the home folder. */
export const path = (value: string): string => resolve(text(value).replace(/^~(?=\/|$)/, homedir()))
/** The state folder where nothing names another. */
export const STATE_FALLBACK = '~/.local/state/s2'
/** Parts between commas; empty ones are left out. */
export const list = (value: string): readonly string[] =>
  value
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '')
export const yesNo = (value: string): boolean => word(['yes', 'no'])(value) === 'yes'

/** `host:port`, `[v6]:port`, or an absolute path of a unix socket. */
export type Address = { readonly host: string; readonly port: number } | { readonly path: string }

export function parseAddress(value: string): Address {
  if (value.startsWith('unix:')) return { path: path(value.slice('unix:'.length)) }
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(value)
  const port = Number(match?.[3])
  if (match === null || port > 65_535) throw new Error('must be host:port, [v6]:port or unix:/path')
  return { host: match[1] ?? match[2] ?? '', port }
}

/** Reads `unix:///path` as the path. */
export function unixSocketUrl(value: string): string {
  const address = parseAddress(value.replace(/^unix:\/\//, 'unix:'))
  if (!('path' in address)) throw new Error('must be unix:///path')
  return address.path
}

/** `claude@*.service`, where the instance names the agent; or one unit of one agent. */
export type AgentUnits = { readonly template: string } | { readonly unit: string; readonly agent: string }

/** Reads a list of `claude@*.service` and `s2-worker-3=claude.service`. */
export function listOfAgentUnits(value: string): readonly AgentUnits[] {
  return list(value).map(agentUnits)
}

function agentUnits(text: string): AgentUnits {
  const template = /^([\w:.-]+@)\*(?:\.service)?$/.exec(text)?.[1]
  if (template !== undefined) return { template }
  const [, agent, unit] = /^([^=\s]+)=([\w:.@\\-]+?)(?:\.service)?$/.exec(text) ?? []
  if (agent === undefined || unit === undefined) throw new Error('must be template@*.service or agent=unit.service')
  return { agent, unit: `${unit}.service` }
}

/** Where heads of the audit trail go: a branch of a git remote, or an address that gets a POST. */
export type HeadAddress = { readonly git: string } | { readonly post: URL }

/** Reads a list of `git=REMOTE` and `post=https://…`. */
export function listOfHeadAddresses(value: string): readonly HeadAddress[] {
  return list(value).map((each) => {
    const [, kind, address = ''] = /^(git|post)=(.+)$/.exec(each) ?? []
    if (kind === 'git') return { git: gitRemoteAddress(address) }
    if (kind === 'post') return { post: new URL(url('http:', 'https:')(address)) }
    throw new Error('must be git=REMOTE or post=https://…, with commas between several')
  })
}

/** `tests=review+backend,docs=any`: for each role the roles that stand in for it. */
export function rolesByRole(text: string): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, readonly string[]>()
  for (const pair of list(text)) {
    const [role = '', others = '', ...rest] = pair.split('=').map((each) => each.trim())
    const names = others.split('+').map((each) => each.trim())
    if (rest.length > 0 || ![role, ...names].every((each) => /^[\p{L}\p{N}_.:@/ -]{1,100}$/u.test(each)))
      throw new Error('must be pairs of roles like tests=review, several with + between them')
    if (found.has(role)) throw new Error(`names ${role} twice: write ${role}=… once, several with + between them`)
    found.set(role, names)
  }
  return found
}

/** What is done about a stalled task: by default, and for the agents or roles that are named. */
interface StallActions {
  readonly otherwise: 'tell' | 'move' | 'end'
  readonly byName: ReadonlyMap<string, 'tell' | 'move' | 'end'>
}

/** `move`, or `move,s2-worker-3=tell,docs=end`. */
export function stallActions(text: string): StallActions {
  const byName = new Map<string, StallActions['otherwise']>()
  let otherwise: StallActions['otherwise'] | undefined
  for (const each of list(text)) {
    const cut = each.lastIndexOf('=')
    const action = (['tell', 'move', 'end'] as const).find((word) => word === each.slice(cut + 1).trim())
    if (action === undefined || cut === 0)
      throw new Error('must be tell, move or end, and for agents or roles name=action after a comma')
    const name = each.slice(0, Math.max(0, cut)).trim()
    if (name === '' ? otherwise !== undefined : byName.has(name))
      throw new Error(`says two things of ${name === '' ? 'all tasks' : name}: leave one out`)
    if (name === '') otherwise = action
    else byName.set(name, action)
  }
  return { otherwise: otherwise ?? 'move', byName }
}
