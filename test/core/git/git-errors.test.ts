import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { gitEnv, sshCommand } from '#git/git-environment.ts'
import { type GitFault, gitAdviceFor, gitFaultOf, gitMessagesOf } from '#git/git-errors.ts'
import { systemClock } from '#runtime/clock.ts'
import { readSettings } from '#runtime/read-settings.ts'
import { type Ending, runCommand } from '#runtime/run-command.ts'
import { freePort } from '../../port.ts'
import { noSshd, Sshd } from '../../sshd.ts'

function said(stderr: string, ended: Ending['ended'] = null): Ending {
  return { code: 128, signal: null, stdout: Buffer.alloc(0), stderr, ended }
}

test('what people chose for ssh is honoured, and it asks no terminal whatever they chose', () => {
  assert.equal(sshCommand({}), 'ssh -oBatchMode=yes -oConnectTimeout=10')
  assert.equal(sshCommand({ GIT_SSH_COMMAND: 'ssh -i /k' }), 'ssh -i /k -oBatchMode=yes -oConnectTimeout=10')
  assert.equal(
    gitEnv({ GIT_SSH_COMMAND: 'ssh -i /k', HOME: '/h' }).GIT_SSH_COMMAND,
    sshCommand({ GIT_SSH_COMMAND: 'ssh -i /k' }),
  )
})

test('each host that keeps repositories says no in its own words', () => {
  const cases: [GitFault, string][] = [
    ['refused', "fatal: could not read Username for 'https://github.com': terminal prompts disabled"],
    ['refused', "remote: Invalid username or password.\nfatal: Authentication failed for 'https://github.com/a/b/'"],
    ['no_repository', 'ERROR: Repository not found.\nfatal: Could not read from remote repository.'],
    [
      'no_repository',
      "remote: The project you were looking for could not be found or you don't have permission to view it.",
    ],
    ['no_repository', "fatal: repository 'https://example.org/a.git/' not found"],
    ['no_write', 'ERROR: The key you are authenticating with has been marked as read only.'],
    [
      'no_write',
      'remote: Write access to repository not granted.\nfatal: unable to access: The requested URL returned error: 403',
    ],
    ['no_write', 'error: remote unpack failed: unable to create temporary object directory'],
    [
      'certificate',
      "fatal: unable to access 'https://a/': server certificate verification failed. CAfile: none CRLfile: none",
    ],
    ['no_name', "fatal: unable to access 'https://a.invalid/': Could not resolve host: a.invalid"],
    [
      'unreachable',
      "fatal: unable to access 'https://a/': Failed to connect to a port 443 after 1 ms: Couldn't connect to server",
    ],
    ['unreachable', 'ssh: connect to host 10.0.0.1 port 22: Connection timed out'],
    ['no_ssh', 'error: cannot run ssh: No such file or directory'],
    ['no_git', 'sh: 1: exec: git: not found'],
    ['too_large', 'fatal: Out of memory, malloc failed (tried to allocate 943718401 bytes)'],
    ['too_large', 'fatal: fetch-pack: invalid index-pack output\n'],
    ['malformed', "error: object 95: hasDotdot: contains '..'\nfatal: fsck error in packed object"],
    ['unreachable', 'fatal: early EOF\nfatal: fetch-pack: invalid index-pack output\n'],
    ['other', 'fatal: protocol error: bad line length character: Welc'],
  ]
  for (const [fault, words] of cases) {
    assert.equal(gitFaultOf(said(words)), fault, words)
    assert.ok(gitAdviceFor(fault, 'read').length > 0)
  }
  assert.equal(gitFaultOf(said('', 'timeout')), 'timeout')
  assert.equal(gitFaultOf(said('', 'output')), 'too_large')
})

test('all lines of a reason are told, what is none is left out, and there is an end to it', () => {
  const padded =
    'fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n'
  assert.deepEqual(gitMessagesOf(said(`Host key verification failed.\n${padded}`)), ['Host key verification failed.'])
  assert.deepEqual(gitMessagesOf(said(padded)), ['fatal: Could not read from remote repository.'])
  assert.deepEqual(gitMessagesOf(said('remote: one\r\nremote: two\x1b[31m\nerror: three\n')), [
    'remote: one',
    'remote: two.[31m',
    'error: three',
  ])
  assert.deepEqual(gitMessagesOf(said('')), ['exit code 128'])
  const long = gitMessagesOf(said(`${'x'.repeat(400)}\n`.repeat(20)))
  assert.ok(long.length <= 6 && long.join('').length <= 1_000)
})

test('a password in the address of a remote is refused, and shown nowhere', () => {
  const read = (S2_GIT_REMOTE: string) => readSettings({ S2_GIT_REMOTE }, ['S2_GIT_REMOTE']).S2_GIT_REMOTE
  for (const fine of ['https://user@h/r.git', 'ssh://git@h:22/r', 'git@h:r.git', '/srv/r:x@y.git', 'file:///srv/a@b:c'])
    assert.equal(read(fine), fine)
  const user = 'https://user:'
  const addresses = [`${user}hunter2@h/r.git`, `${user}hun@ter2@h/r.git`, `${user}@h/r.git`]
  for (const address of [...addresses, 'https://us@er:hunter2@h/r.git', `http::${user}hunter2@h/r.git`])
    assert.throws(
      () => read(address),
      (error: Error) => {
        assert.match(error.message, /must not carry a password/)
        assert.doesNotMatch(error.message, /hun|ter2/)
        return true
      },
    )
  const token = `${'ghp'}_${'x'.repeat(36)}`
  assert.throws(
    () => read(`https://${token}@h/r.git`),
    (error: Error) => {
      assert.match(error.message, /must not carry a token/)
      assert.doesNotMatch(error.message, /xxxx/)
      return true
    },
  )
})

let sshd: Sshd
let repository = ''
before(async () => {
  if (noSshd) return
  sshd = await Sshd.start()
  mkdirSync(join(sshd.home, '.ssh'), { mode: 0o700 })
  repository = join(sshd.folder, 'fleet.git')
  execFileSync('git', ['init', '--quiet', '--bare', repository])
})
after(async () => await sshd?.[Symbol.asyncDispose]())

/** Asks a remote as a worker does. */
async function ask(remote: string, timeoutMs = 20_000): Promise<Ending> {
  const env = gitEnv({ PATH: process.env.PATH, HOME: sshd.home, GIT_SSH_COMMAND: sshd.ssh })
  const argv = ['git', 'ls-remote', '--', remote] as const
  return await runCommand({ argv: [...argv], env, timeoutMs, outputMax: 65_536, beyond: 'end' }, systemClock)
}

async function fails(fault: GitFault, complaint: RegExp, remote: string, timeoutMs?: number): Promise<void> {
  const ending = await ask(remote, timeoutMs)
  const lines = gitMessagesOf(ending).join('\n')
  assert.equal(gitFaultOf(ending), fault, ending.stderr)
  assert.match(lines, complaint)
  assert.doesNotMatch(lines, /Please make sure|@@@/)
}

test('what ssh really says is told apart: the host, its key, ours, the repository', { skip: noSshd }, async () => {
  const remote = sshd.url(repository)
  rmSync(sshd.knownHosts, { force: true })
  await fails('unknown_host_key', /^Host key verification failed\.$/, remote)
  writeFileSync(sshd.knownHosts, sshd.known(sshd.makeKey(join(sshd.folder, 'another'))))
  await fails('changed_host_key', /SHA256:[\s\S]*has changed/, remote)
  writeFileSync(sshd.knownHosts, sshd.known())
  await fails('refused', /^.*Permission denied \(publickey\)\.$/, remote)
  sshd.letIn(sshd.makeKey(sshd.key))
  assert.equal((await ask(remote)).code, 0)
  await fails('no_repository', /nowhere\.git' does not appear to be a git repository/, sshd.url('/nowhere.git'))
  await fails('unreachable', /Connection refused/, sshd.url(repository, await freePort()))
  await fails('no_name', /Could not resolve hostname no-such-host\.invalid/, 'ssh://git@no-such-host.invalid/fleet.git')
  sshd.letIn('')
})

test('a server that says nothing is waited for so long and no longer', { skip: noSshd }, async () => {
  const silent = createServer(() => undefined).listen(0, '127.0.0.1')
  try {
    await new Promise((resolve) => silent.once('listening', resolve))
    const { port } = silent.address() as { port: number }
    await fails('timeout', /it took too long/, sshd.url(repository, port), 1_000)
  } finally {
    silent.close()
  }
})

test('a repository of another user is told as one', { skip: noSshd || process.getuid?.() !== 0 }, async () => {
  const foreign = join(sshd.folder, 'foreign.git')
  execFileSync('git', ['init', '--quiet', '--bare', foreign])
  execFileSync('chown', ['-R', '65534', foreign])
  await fails('foreign_owner', /dubious ownership/, foreign)
})
