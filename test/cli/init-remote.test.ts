import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { sshHostOf } from '../../services/cli/init/ssh-keys.ts'
import { noSshd, Sshd } from '../sshd.ts'
import { type Outcome, run } from './run-command.ts'

let sshd: Sshd
let repository = ''
before(async () => {
  if (noSshd) return
  sshd = await Sshd.start()
  repository = join(sshd.folder, 'fleet.git')
  execFileSync('git', ['init', '--quiet', '--bare', repository])
})
after(async () => await sshd?.[Symbol.asyncDispose]())

/** A home that ssh knows nothing in, of an ssh server that lets nobody in. */
function forget(): void {
  rmSync(join(sshd.home, '.ssh'), { recursive: true, force: true })
  sshd.letIn('')
}

interface Asked extends Outcome {
  /** What was set. */
  readonly written: string
}

/** `s2 init` with a terminal where there are answers, without one where there are none. */
async function init(argv: readonly string[], answers: readonly (string | (() => string))[] | null): Promise<Asked> {
  const folder = mkdtempSync(join(sshd.folder, 'etc'))
  const bin = mkdtempSync(join(sshd.folder, 'bin'))
  writeFileSync(join(bin, 'systemctl'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
  writeFileSync(join(folder, 's2.env'), `GIT_SSH_COMMAND=${sshd.ssh}\n`)
  const left = [...(answers ?? [])]
  const ask = async (): Promise<string | null> => {
    const answer = left.shift() ?? null
    return typeof answer === 'function' ? answer() : answer
  }
  const screen = { isTerminal: answers !== null, columns: 80, rows: 24, coloured: false }
  const env = { HOME: sshd.home, PATH: `${bin}:${process.env.PATH}` }
  const options = ['--bridge-url', '', '--wake', '', '--folder', folder]
  const outcome = await run(['init', '--role', 'orchestrator', ...options, ...argv], { env, screen, ask })
  assert.deepEqual(left, [], `more was answered than asked:\n${outcome.err}`)
  return { ...outcome, written: readFileSync(join(folder, 's2.env'), 'utf8') }
}

test('the host of a remote is read as git reads it', () => {
  const cases: [string, string[] | null][] = [
    ['ssh://git@host:2222/a/b.git', ['-p', '2222', '--', 'git@host']],
    ['ssh://host/a', ['--', 'host']],
    ['ssh://git@[fd00::1]:22/a', ['-p', '22', '--', 'git@fd00::1']],
    ['git@host:a/b.git', ['--', 'git@host']],
    ['host:a', ['--', 'host']],
    ['https://host/a', null],
    ['/srv/git/a:b.git', null],
    ['./a:b', null],
    ['file:///a', null],
  ]
  for (const [remote, args] of cases) assert.deepEqual(sshHostOf(remote)?.args ?? null, args, remote)
})

test('nobody to ask: what was compared before is noted, and the rest is left to do', { skip: noSshd }, async () => {
  forget()
  const remote = ['--remote', sshd.url(repository)]
  const first = await init(remote, null)
  assert.equal(first.code, 0, first.err)
  assert.ok(first.out.includes(`s2 init --accept-host-key ${sshd.fingerprint}\n`), first.out)
  assert.ok(!existsSync(sshd.knownHosts), 'a key was noted that nobody had compared')
  const wrong = await init([...remote, '--accept-host-key', `${sshd.fingerprint}x`], null)
  assert.match(wrong.out, /--accept-host-key SHA256/)
  const second = await init([...remote, '--accept-host-key', sshd.fingerprint, '--json'], null)
  assert.equal(readFileSync(sshd.knownHosts, 'utf8'), sshd.known())
  const publicHalf = readFileSync(`${sshd.key}.pub`, 'utf8').trim()
  const { next } = JSON.parse(second.out) as { next: string[] }
  assert.ok(next[0]?.includes(publicHalf), second.out)
  assert.equal(second.err, '')
  assert.equal(statSync(sshd.key).mode & 0o777, 0o600)
  assert.equal(statSync(join(sshd.home, '.ssh')).mode & 0o777, 0o700)
  sshd.letIn(publicHalf)
  const third = await init(remote, null)
  assert.match(third.err, /git lets \S+ read and push there/)
  assert.equal(readFileSync(`${sshd.key}.pub`, 'utf8').trim(), publicHalf, 'a key was written over')
})

test('a slip in the address costs one line, and who goes on without git knows what is left', {
  skip: noSshd,
}, async () => {
  forget()
  mkdirSync(join(sshd.home, '.ssh'), { mode: 0o700 })
  writeFileSync(sshd.knownHosts, sshd.known())
  sshd.letIn(sshd.makeKey(sshd.key))
  const fixed = await init(
    [],
    ['https://user:hunter2@host/fleet.git', sshd.url('/nowhere.git'), 'not a remote', sshd.url(repository)],
  )
  assert.equal(fixed.code, 0, fixed.err)
  assert.match(fixed.err, /must not carry a password/)
  assert.doesNotMatch(fixed.err, /hunter2/)
  assert.match(fixed.err, /nowhere\.git' does not appear to be a git repository\n {2}next: check S2_GIT_REMOTE/)
  assert.ok(fixed.written.includes(`S2_GIT_REMOTE=${sshd.url(repository)}\n`))

  writeFileSync(sshd.knownHosts, sshd.known(sshd.makeKey(join(sshd.folder, 'another'))))
  const changed = await init(['--remote', sshd.url(repository)], ['', 'skip'])
  assert.match(changed.err, /has changed/)
  assert.match(changed.out, /1\. let git reach .*ask the operator of that host whether its key was changed/)
})

test('a remote on this machine is asked whether it may be written', {
  skip: noSshd || process.getuid?.() !== 0,
}, async () => {
  const guarded = join(sshd.folder, 'guarded.git')
  execFileSync('git', ['init', '--quiet', '--bare', guarded])
  const fine = await init(['--remote', `file://${guarded}`], null)
  assert.match(fine.err, /read and push there/)
  assert.deepEqual(
    execFileSync('git', ['--git-dir', guarded, 'for-each-ref'], { encoding: 'utf8' }),
    '',
    'it was pushed',
  )
  const foreign = await init(['--remote', guarded, '--owner', 'nobody'], null)
  // The orchestrator's issuer pushes from a service, which sees no /tmp.
  assert.match(foreign.err, /lies where services are not let in/)
})

test('an end that is wanted while git hangs comes at once, and nothing is written', { skip: noSshd }, async () => {
  const silent = createServer(() => heard?.('SIGINT')).listen(0, '127.0.0.1')
  let heard: ((signal: NodeJS.Signals) => void) | null = null
  try {
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    const folder = mkdtempSync(join(sshd.folder, 'etc'))
    const { code, err } = await run(
      ['init', '--role', 'orchestrator', '--bridge-url', '', '--folder', folder, '--remote', sshd.url('/x', port)],
      {
        env: { HOME: sshd.home, PATH: process.env.PATH },
        screen: { isTerminal: true, columns: 80, rows: 24, coloured: false },
        ask: async () => assert.fail('it asked after the end'),
        onSignal: (_, hear) => {
          heard = hear
          return { [Symbol.dispose]: () => undefined }
        },
      },
    )
    assert.equal(code, 64)
    assert.match(err, /s2: nothing was written/)
    assert.ok(!existsSync(join(folder, 's2.env')))
  } finally {
    silent.close()
  }
})
