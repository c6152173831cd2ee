import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const CACHE = fileURLToPath(new URL('../node_modules/.cache/s2-c', import.meta.url))
const COMPILERS = ['cc', 'gcc', 'clang']

/**
 * Compiles a C file of the tests: to a program, or to a shared object for LD_PRELOAD. Answers the path of what was made; null
 * where there is no compiler. A file that did not change is not compiled again. Throws what the compiler says of a mistake.
 */
export function compileC(source: string, { shared = false }: { readonly shared?: boolean } = {}): string | null {
  const flags = ['-O2', '-Wall', '-Wextra', '-Werror', ...(shared ? ['-shared', '-fPIC'] : [])]
  const print = createHash('sha256').update(readFileSync(source)).update(flags.join(' ')).digest('hex').slice(0, 16)
  const made = join(CACHE, `${basename(source, '.c')}-${print}${shared ? '.so' : ''}`)
  if (existsSync(made)) return made
  mkdirSync(CACHE, { recursive: true })
  const draft = `${made}.${process.pid}` // another process may compile the same file
  for (const compiler of COMPILERS) {
    const { error, status, stderr } = spawnSync(compiler, [...flags, '-o', draft, source, '-ldl', '-lpthread'])
    if (error !== undefined) continue
    if (status !== 0) {
      rmSync(draft, { force: true })
      throw new Error(`${compiler} does not compile ${source}:\n${stderr}`)
    }
    renameSync(draft, made)
    return made
  }
  return null
}
