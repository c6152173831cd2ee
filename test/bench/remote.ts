import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A git remote in a folder, with these files on its branch main. Answers its path. */
export async function makeRemote(folder: string, files: Readonly<Record<string, string>>): Promise<string> {
  const bare = join(folder, 'remote.git')
  const work = join(folder, 'work')
  const env = { PATH: process.env.PATH, HOME: folder, GIT_CONFIG_NOSYSTEM: '1' }
  const git = (...args: readonly string[]) => run('git', ['-C', work, ...args], { env })
  await run('git', ['init', '--quiet', '--bare', '--initial-branch=main', bare], { env })
  await run('git', ['init', '--quiet', '--initial-branch=main', work], { env })
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(work, path)), { recursive: true })
    await writeFile(join(work, path), content)
  }
  await git('add', '--all', '.')
  await git('-c', 'user.name=bench', '-c', 'user.email=bench@example.org', 'commit', '--quiet', '-m', 'credentials')
  await git('push', '--quiet', bare, 'main')
  return bare
}
