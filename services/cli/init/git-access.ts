import type { CommandContext } from '#console/context.ts'
import { SETTINGS } from '#runtime/settings.ts'
import type { Dialogue } from './dialogue.ts'
import { environmentOf } from './service-user.ts'
import { addKnownHosts, askHostKeys, ensureOwnKey, type Ssh, type SshHost, sshHostOf } from './ssh-keys.ts'
import type { Todo } from './todo.ts'
import { type Remote, type RemoteAnswer, tryRemote } from './try-remote.ts'

/** The result of getting access to a git remote. */
export interface GitAccess {
  /** The last address that the person gave. */
  readonly address: string
  /** What a person has to do before the remote gives access; null when it does. */
  readonly todo: Todo | null
}

export interface GitAccessParts {
  readonly context: CommandContext
  readonly dialogue: Dialogue
  /** The fingerprint of the host's key that a person has compared already. */
  readonly accepted: string | undefined
  /** Called for each file as it is made, so that it is reported also when the person leaves in the middle. */
  readonly onMade: (what: string) => void
  /** The command that goes on from here. */
  readonly retryCommand: string
}

/**
 * Tries a remote as the services will, and helps where it refuses: shows the key of an unknown host, makes the key of
 * this host, and tries again as often as the person wants.
 */
export async function ensureGitAccess(remote: Remote, parts: GitAccessParts): Promise<GitAccess> {
  const { dialogue, context } = parts
  let current = remote
  let acceptedAt = ''
  for (;;) {
    dialogue.throwIfInterrupted()
    const answer = await tryRemote(current, context, dialogue.signal)
    dialogue.throwIfInterrupted()
    const { address, user, right } = current
    if (answer.isIn) {
      dialogue.say(`git lets ${user.user} ${right === 'push' ? 'read and push' : 'read'} there`)
      return { address, todo: null }
    }
    const wasAccepted = acceptedAt === address && answer.fault === 'unknown_host_key'
    const todo = wasAccepted ? todoToReach(address, answer, parts) : await handleRefusal(current, answer, parts)
    if (todo === null) {
      acceptedAt = address
      continue
    }
    if (!dialogue.canAsk) return { address, todo }
    const said = await dialogue.ask('  Press Enter to try again, or type another address, or skip: ', checkRemote)
    if (said === 'skip') return { address, todo }
    if (said !== '') current = { ...current, address: said }
  }
}

function checkRemote(answer: string): string | null {
  if (answer === '' || answer === 'skip') return null
  try {
    SETTINGS.S2_GIT_REMOTE.parse(answer)
    return null
  } catch (error) {
    return `it ${(error as Error).message}`
  }
}

type Refusal = RemoteAnswer & { readonly isIn: false }

function todoToReach(address: string, { complaints, mending }: Refusal, { retryCommand }: GitAccessParts): Todo {
  return { what: `let git reach ${address} (${complaints.join('; ')}): ${mending}`, commands: [retryCommand] }
}

/** Does what can be done here about a refusal. Null when another try may succeed, else what a person has to do. */
async function handleRefusal(remote: Remote, refusal: Refusal, parts: GitAccessParts): Promise<Todo | null> {
  const { dialogue, context, retryCommand } = parts
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
    return { what: next, commands: [retryCommand] }
  }
  dialogue.say(`next: ${refusal.mending}`)
  return todoToReach(address, refusal, parts)
}

/** Shows the key of an unknown host, and adds it to known_hosts only when a person confirms it. */
async function acceptHostKey(
  ssh: Ssh,
  host: SshHost,
  { dialogue, accepted, onMade, retryCommand }: GitAccessParts,
): Promise<Todo | null> {
  const keys = await askHostKeys(ssh, host)
  dialogue.throwIfInterrupted()
  const { user } = ssh.user
  const what = `let ${user} know ${host.name}`
  if (keys.length === 0) {
    dialogue.say(`${user} does not know ${host.name} yet, and it showed no key`)
    return { what: `${what}: look whether an ssh server answers there`, commands: [retryCommand] }
  }
  dialogue.say(`${user} does not know ${host.name} yet, which shows this key:`)
  dialogue.say(...keys.map(({ kind, fingerprint }) => `  ${fingerprint} (${kind})`))
  const isAccepted = keys.every(({ fingerprint }) => fingerprint === accepted)
  const question =
    '  Is it the right one? Compare it with the key that the operator of that host names (on a host of your own: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub).'
  if (!isAccepted && !(await dialogue.confirm(question))) {
    const options = keys.map(({ fingerprint }) => `--accept-host-key ${fingerprint}`)
    const compare = 'compare its key with the one that its operator names, and if it is the right one'
    return { what: `${what}: ${compare}`, commands: [`${retryCommand} ${options.join(' ')}`] }
  }
  const file = await addKnownHosts(ssh, host, keys)
  onMade(`the key of ${host.name} in ${file}`)
  dialogue.say(`added to ${file}`)
  return null
}

/** Shows the public key that the host has to accept; makes one where there is none. */
async function showPublicKey(
  ssh: Ssh,
  host: SshHost,
  { right }: Remote,
  { dialogue, onMade, retryCommand }: GitAccessParts,
): Promise<Todo> {
  const { file, publicKey, isNew, needsPassphrase } = await ensureOwnKey(ssh, host)
  const { user } = ssh.user
  if (isNew) onMade(`a key for ${user}: ${file}`)
  if (needsPassphrase) {
    const next = `the key ${file} asks for a passphrase, which nobody types for a service: name a key without a passphrase in s2.env, GIT_SSH_COMMAND=ssh -i FILE`
    dialogue.say(next)
    return { what: next, commands: [retryCommand] }
  }
  const may = right === 'push' ? 'read and push' : 'read'
  dialogue.say(`${isNew ? 'a key was made for' : 'the key of'} ${user}: ${file}`)
  dialogue.say(`let it in at ${host.name}, so that it may ${may} (an authorized_keys line, or a deploy key):`, '')
  dialogue.say(`  ${publicKey}`, '')
  return { what: `let this key in at ${host.name}, so that it may ${may}: ${publicKey}`, commands: [retryCommand] }
}
