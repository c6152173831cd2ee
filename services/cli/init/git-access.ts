import type { CommandContext } from '#console/context.ts'
import { SETTINGS } from '#runtime/settings.ts'
import type { Dialogue } from './dialogue.ts'
import { environmentOf } from './service-user.ts'
import { askHostKeys, noteHostKeys, ownKey, type Ssh, type SshHost, sshHostOf } from './ssh-keys.ts'
import type { Todo } from './todo.ts'
import { type Remote, type RemoteAnswer, tryRemote } from './try-remote.ts'

/** What came of asking a remote to let this host in. */
export interface GitAccess {
  /** As it was answered last. */
  readonly address: string
  /** What a person has to do before it is let in; null when it is. */
  readonly left: Todo | null
}

export interface GitAccessParts {
  readonly context: CommandContext
  readonly dialogue: Dialogue
  /** The fingerprint of the host's key that somebody has compared already. */
  readonly accepted: string | undefined
  /** Said of what was made at once, so that it is known also when a person leaves in the middle. */
  readonly onMade: (what: string) => void
  /** What a person calls to go on where it was left. */
  readonly again: string
}

/**
 * Tries a remote as the services will, and helps where it says no: shows the key of a host that is not known, makes the key
 * that this host is known by, and tries again as often as a person wants.
 */
export async function gainAccess(remote: Remote, parts: GitAccessParts): Promise<GitAccess> {
  const { dialogue, context } = parts
  let current = remote
  let acceptedAt = ''
  for (;;) {
    dialogue.goOn()
    const answer = await tryRemote(current, context, dialogue.signal)
    dialogue.goOn()
    const { address, user, right } = current
    if (answer.isIn) {
      dialogue.say(`git lets ${user.user} ${right === 'push' ? 'read and push' : 'read'} there`)
      return { address, left: null }
    }
    const wasAccepted = acceptedAt === address && answer.fault === 'unknown_host_key'
    const left = wasAccepted ? letReach(address, answer, parts) : await help(current, answer, parts)
    if (left === null) {
      acceptedAt = address
      continue
    }
    if (!dialogue.canAsk) return { address, left }
    const said = await dialogue.ask('  Press Enter to try again, or type another address, or skip: ', asRemote)
    if (said === 'skip') return { address, left }
    if (said !== '') current = { ...current, address: said }
  }
}

function asRemote(answer: string): string | null {
  if (answer === '' || answer === 'skip') return null
  try {
    SETTINGS.S2_GIT_REMOTE.parse(answer)
    return null
  } catch (error) {
    return `it ${(error as Error).message}`
  }
}

type Refusal = RemoteAnswer & { readonly isIn: false }

function letReach(address: string, { complaints, mending }: Refusal, { again }: GitAccessParts): Todo {
  return { what: `let git reach ${address} (${complaints.join('; ')}): ${mending}`, commands: [again] }
}

/** Does what can be done here about a refusal; null when that may be all, else what a person has to do. */
async function help(remote: Remote, refusal: Refusal, parts: GitAccessParts): Promise<Todo | null> {
  const { dialogue, context, again } = parts
  const { user, settings, address } = remote
  const host = sshHostOf(address)
  const ssh: Ssh = { user, env: environmentOf(user, settings, context), context, signal: dialogue.signal }
  if (host !== null && refusal.fault === 'unknown_host_key') return await acceptHostKey(ssh, host, parts)
  dialogue.say(...refusal.complaints)
  if (host !== null && refusal.fault === 'refused') return await showPublicKey(ssh, host, remote, parts)
  if (refusal.fault === 'refused') {
    const { hostname } = URL.canParse(address) ? new URL(address) : { hostname: 'HOST' }
    const line = `machine ${hostname} login USER password TOKEN`
    const next = `put a token that may ${remote.right} into ${user.home}/.netrc (mode 600, owned by ${user.user}): ${line}`
    dialogue.say(`next: ${next}`)
    return { what: next, commands: [again] }
  }
  dialogue.say(`next: ${refusal.mending}`)
  return letReach(address, refusal, parts)
}

/** Shows the key of a host that is not known; it is noted only when a person says that it is the right one. */
async function acceptHostKey(
  ssh: Ssh,
  host: SshHost,
  { dialogue, accepted, onMade, again }: GitAccessParts,
): Promise<Todo | null> {
  const keys = await askHostKeys(ssh, host)
  dialogue.goOn()
  const { user } = ssh.user
  const what = `let ${user} know ${host.name}`
  if (keys.length === 0) {
    dialogue.say(`${user} does not know ${host.name} yet, and it showed no key`)
    return { what: `${what}: look whether an ssh server answers there`, commands: [again] }
  }
  dialogue.say(`${user} does not know ${host.name} yet, which shows this key:`)
  dialogue.say(...keys.map(({ kind, fingerprint }) => `  ${fingerprint} (${kind})`))
  const isAccepted = keys.every(({ fingerprint }) => fingerprint === accepted)
  const question =
    '  Is it the right one? Compare it with what whoever runs that host says (on one of your own: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub).'
  if (!isAccepted && !(await dialogue.agrees(question))) {
    const options = keys.map(({ fingerprint }) => `--accept-host-key ${fingerprint}`)
    const compare = 'compare its key with what whoever runs it says, and if it is the right one'
    return { what: `${what}: ${compare}`, commands: [`${again} ${options.join(' ')}`] }
  }
  const file = await noteHostKeys(ssh, host, keys)
  onMade(`the key of ${host.name} in ${file}`)
  dialogue.say(`noted in ${file}`)
  return null
}

/** Shows the key that the host has to let in, made where there is none. */
async function showPublicKey(
  ssh: Ssh,
  host: SshHost,
  { right }: Remote,
  { dialogue, onMade, again }: GitAccessParts,
): Promise<Todo> {
  const { file, publicHalf, isNew, isLocked } = await ownKey(ssh, host)
  const { user } = ssh.user
  if (isNew) onMade(`a key for ${user}: ${file}`)
  if (isLocked) {
    const next = `the key ${file} asks for a passphrase, which nobody types for a service: name a key without a passphrase in s2.env, GIT_SSH_COMMAND=ssh -i FILE`
    dialogue.say(next)
    return { what: next, commands: [again] }
  }
  const may = right === 'push' ? 'read and push' : 'read'
  dialogue.say(`${isNew ? 'a key was made for' : 'the key of'} ${user}: ${file}`)
  dialogue.say(`let it in at ${host.name}, so that it may ${may} (an authorized_keys line, or a deploy key):`, '')
  dialogue.say(`  ${publicHalf}`, '')
  return { what: `let this key in at ${host.name}, so that it may ${may}: ${publicHalf}`, commands: [again] }
}
