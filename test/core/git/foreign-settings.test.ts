import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { GitMirror } from '#git/git-mirror.ts'
import { GitPublisher } from '#git/git-publisher.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { PATIENCE_MS } from '../../until.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-foreign-settings-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const ran = join(folder, 'ran')
const command = join(folder, 'command')
writeFileSync(command, `#!/bin/sh\necho "$@" >>'${ran}'\nexit 1\n`, { mode: 0o755 })
const remote = join(folder, 'remote.git')
const quiet = { env: { PATH: process.env.PATH, HOME: '/nonexistent' } }
execFileSync('git', ['init', '--quiet', '--bare', '-b', 'main', remote], quiet)

function mirror(address: string, branch: string, env: Record<string, string | undefined> = {}): GitMirror {
  const place = { folder: join(folder, 'mirror'), remote: address, branch, timeoutMs: PATIENCE_MS }
  return new GitMirror(place, { clock: systemClock, env: { PATH: process.env.PATH, HOME: folder, ...env } })
}

test('no setting of the user, of the machine or of the environment runs a command or leads elsewhere', async () => {
  const settings = `[core]
\thooksPath = ${folder}
\tfsmonitor = ${command}
\tsshCommand = ${command}
\tgitProxy = ${command}
\talternateRefsCommand = ${command}
[uploadpack]
\tpackObjectsHook = ${command}
[credential]
\thelper = ${command}
[protocol "ext"]
\tallow = always
[url "ext::${command} "]
\tinsteadOf = ${remote}
`
  writeFileSync(join(folder, '.gitconfig'), settings)
  mkdirSync(join(folder, '.config/git'), { recursive: true })
  mkdirSync(join(folder, 'template/hooks'), { recursive: true })
  writeFileSync(join(folder, '.config/git/config'), settings)
  for (const hook of ['pre-push', 'reference-transaction', 'template/hooks/reference-transaction'])
    writeFileSync(join(folder, hook), `#!/bin/sh\nexec ${command} ${hook}\n`, { mode: 0o755 })
  const env = {
    PATH: process.env.PATH,
    HOME: folder,
    XDG_CONFIG_HOME: join(folder, '.config'),
    GIT_CONFIG_GLOBAL: join(folder, '.gitconfig'),
    GIT_CONFIG_SYSTEM: join(folder, '.gitconfig'),
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: `url.ext::${command} .insteadOf`,
    GIT_CONFIG_VALUE_0: remote,
    GIT_CONFIG_PARAMETERS: `'uploadpack.packObjectsHook=${command}'`,
    GIT_TEMPLATE_DIR: join(folder, 'template'),
    GIT_EXEC_PATH: folder,
    GIT_PROXY_COMMAND: command,
    GIT_SSH: command,
    GIT_EXTERNAL_DIFF: command,
    GIT_ASKPASS: command,
    SSH_ASKPASS: command,
    GIT_EDITOR: command,
    GIT_PAGER: command,
    GIT_DIR: join(folder, 'elsewhere'),
    GIT_WORK_TREE: folder,
    GIT_NAMESPACE: 'elsewhere',
    GIT_OBJECT_DIRECTORY: join(folder, 'elsewhere'),
    GIT_ALTERNATE_OBJECT_DIRECTORIES: join(folder, 'elsewhere'),
    GIT_TRACE: join(folder, 'trace'),
    GIT_ALLOW_PROTOCOL: 'ext',
    GIT_PROTOCOL_FROM_USER: '1',
  }
  const place = { remote, branch: 'main', timeoutMs: PATIENCE_MS }
  await using publisher = await GitPublisher.open(place, { clock: systemClock, chance: systemChance, env })
  const { commit } = await publisher.publish(new Map([['a', 'content\n']]), 'First')
  const read = mirror(remote, 'main', env)
  assert.equal(await read.tip(), commit)
  assert.equal((await read.file(await read.fetch(commit), 'a', 100))?.toString(), 'content\n')
  for (const name of ['ran', 'trace', 'elsewhere']) assert.ok(!existsSync(join(folder, name)), name)
})

test('no address of a remote is an option or a command', async (t) => {
  const addresses = [
    `--upload-pack=${command}`,
    `ext::${command} x`,
    `file::ext::${command} x`,
    `ssh://-oProxyCommand=${command}/x`,
    `ssh://u@-oProxyCommand=${command}/x`,
    `-oProxyCommand=${command}:x`,
    `git://127.0.0.1:1/;${command}`,
    `fd::0`,
    `${remote}/\`${command}\``,
    `$(${command})`,
  ]
  for (const address of addresses) {
    await t.test(address.replaceAll(folder, ''), async () => {
      await assert.rejects(mirror(address, 'main').tip(), { code: 'unavailable' })
      assert.ok(!existsSync(ran))
    })
  }
})

test('no name of a branch is an option, a pattern or two branches', async (t) => {
  const names = [
    `--upload-pack=${command}`,
    `-c core.sshCommand=${command}`,
    'main:refs/heads/two',
    '*',
    'ma[i]n',
    '^main',
  ]
  for (const name of [...names, 'main@{0}', '../../config', 'main\nmain', `;${command}`, '']) {
    await t.test(JSON.stringify(name.replaceAll(folder, '')), async () => {
      assert.equal(await mirror(remote, name).tip(), null)
      await assert.rejects(mirror(remote, name).fetch('1'.repeat(40)), { code: 'unavailable' })
      assert.ok(!existsSync(ran))
    })
  }
})
