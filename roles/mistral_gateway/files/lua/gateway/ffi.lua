-- Everything that calls C, and nothing else does: a wrong declaration here ends the process, so each has its test.
-- OpenSSL is the one that Nginx itself runs on.
local ffi = require 'ffi'

ffi.cdef [[
int kill(int pid, int sig);
int getpid(void);
int inet_pton(int family, const char *text, void *out);
int open(const char *path, int flags, int mode);
int flock(int fd, int operation);
int close(int fd);
size_t strcspn(const unsigned char *text, const char *set);

int RAND_bytes(unsigned char *out, int length);
int EVP_DecodeBlock(unsigned char *out, const unsigned char *text, int length);

typedef struct bio_st BIO;
typedef struct evp_pkey_st EVP_PKEY;
typedef struct evp_md_ctx_st EVP_MD_CTX;
typedef struct evp_md_st EVP_MD;
const EVP_MD *EVP_sha256(void);
EVP_MD *EVP_MD_fetch(void *library, const char *name, const char *properties);
int EVP_DigestInit_ex2(EVP_MD_CTX *context, const EVP_MD *md, const void *parameters);
int EVP_DigestUpdate(EVP_MD_CTX *context, const void *data, size_t length);
int EVP_DigestFinal_ex(EVP_MD_CTX *context, unsigned char *out, unsigned int *length);
unsigned char *HMAC(const EVP_MD *md, const void *key, int key_length, const unsigned char *data, size_t length,
          unsigned char *out, unsigned int *out_length);
BIO *BIO_new_mem_buf(const void *data, int length);
int BIO_free(BIO *bio);
EVP_PKEY *PEM_read_bio_PUBKEY(BIO *bio, EVP_PKEY **out, void *callback, void *argument);
void EVP_PKEY_free(EVP_PKEY *key);
int EVP_PKEY_get_base_id(const EVP_PKEY *key);
int EVP_PKEY_get_bits(const EVP_PKEY *key);
EVP_MD_CTX *EVP_MD_CTX_new(void);
void EVP_MD_CTX_free(EVP_MD_CTX *context);
int EVP_DigestVerifyInit(EVP_MD_CTX *context, void **pctx, const EVP_MD *md, void *engine, EVP_PKEY *key);
int EVP_DigestVerify(EVP_MD_CTX *context, const unsigned char *signature, size_t signature_length,
                     const unsigned char *text, size_t length);
void ERR_clear_error(void);
]]

local C = ffi.C
local tohex = bit.tohex
-- Nginx has OpenSSL loaded; the interpreter of the tests has not.
local crypto = pcall(function() return C.RAND_bytes end) and C or ffi.load('libcrypto.so.3')

local ESRCH = 3
local AF_INET, AF_INET6 = 2, 10
local O_RDWR_CREAT_CLOEXEC, LOCK_EXCLUSIVE = 0x80042, 2
local RSA, EC = 6, 408

local digest = ffi.new('unsigned char[32]')
local address = ffi.new('unsigned char[16]')

local M = {}

-- OpenSSL looks an algorithm up by its name each time unless it is fetched: that takes longer than to hash a key.
local sha256_method = crypto.EVP_MD_fetch(nil, 'SHA256', nil)
local sha256_context = crypto.EVP_MD_CTX_new()

-- 32 bytes.
function M.sha256(text)
  if crypto.EVP_DigestInit_ex2(sha256_context, sha256_method, nil) ~= 1
    or crypto.EVP_DigestUpdate(sha256_context, text, #text) ~= 1
    or crypto.EVP_DigestFinal_ex(sha256_context, digest, nil) ~= 1 then
    error 'OpenSSL does not hash'
  end
  return ffi.string(digest, 32)
end

-- Random bytes are fetched for many ids at once. There are none before the first id: processes that are forked with the
-- same bytes would give the same ids.
local POOL = 4096
local pool = ffi.new('unsigned char[?]', POOL)
local words, next_word = ffi.cast('uint32_t *', pool), POOL / 4

-- 32 hexadecimal digits that nobody has had before; nil if OpenSSL has no random bytes.
function M.random_id()
  if next_word == POOL / 4 then
    if crypto.RAND_bytes(pool, POOL) ~= 1 then return nil end
    next_word = 0
  end
  local at = next_word
  next_word = at + 4
  return tohex(tonumber(words[at])) .. tohex(tonumber(words[at + 1])) .. tohex(tonumber(words[at + 2]))
    .. tohex(tonumber(words[at + 3]))
end

-- Control characters, the quote and the backslash.
local SPECIAL = '"\\'
for c = 1, 31 do SPECIAL = SPECIAL .. string.char(c) end

-- How many bytes follow a pointer into a Lua string before a byte that JSON's strings do not have as it is, or the end.
function M.plain_length(bytes)
  return tonumber(C.strcspn(bytes, SPECIAL))
end

-- 32 bytes.
function M.hmac_sha256(secret, text)
  crypto.HMAC(crypto.EVP_sha256(), secret, #secret, text, #text, digest, nil)
  return ffi.string(digest, 32)
end

-- nil if it is not base64 with its padding.
function M.base64(text)
  local n = #text
  if n == 0 or n % 4 ~= 0 then
    return nil
  end
  local out = ffi.new('unsigned char[?]', n)
  local length = crypto.EVP_DecodeBlock(out, text, n)
  if length < 0 then
    crypto.ERR_clear_error()
    return nil
  end
  -- OpenSSL counts the bytes of the padding as well.
  if text:sub(-2) == '==' then
    length = length - 2
  elseif text:sub(-1) == '=' then
    length = length - 1
  end
  return ffi.string(out, length)
end

-- An IPv4 or IPv6 address as its 4 or 16 bytes, or nil.
function M.address(text)
  if C.inet_pton(AF_INET, text, address) == 1 then
    return ffi.string(address, 4)
  end
  if C.inet_pton(AF_INET6, text, address) == 1 then
    return ffi.string(address, 16)
  end
  return nil
end

function M.pid()
  return C.getpid()
end

-- A process of another user counts as alive.
function M.is_alive(pid)
  return C.kill(pid, 0) == 0 or ffi.errno() ~= ESRCH
end

-- Waits for the lock on a file, which is made if it is missing. The kernel takes the lock from a process that dies.
function M.lock(path)
  local fd = C.open(path, O_RDWR_CREAT_CLOEXEC, 384) -- 0600
  if fd < 0 then
    return nil
  end
  if C.flock(fd, LOCK_EXCLUSIVE) ~= 0 then
    C.close(fd)
    return nil
  end
  return fd
end

function M.unlock(fd)
  C.close(fd)
end

-- A public key for `verify`, of the kind that the algorithm needs; nil and why it is none.
function M.public_key(pem, algorithm)
  local bio = crypto.BIO_new_mem_buf(pem, #pem)
  local key = crypto.PEM_read_bio_PUBKEY(bio, nil, nil, nil)
  crypto.BIO_free(bio)
  crypto.ERR_clear_error()
  if key == nil then
    return nil, 'it is not a public key in PEM'
  end
  key = ffi.gc(key, crypto.EVP_PKEY_free)
  local kind, bits = crypto.EVP_PKEY_get_base_id(key), crypto.EVP_PKEY_get_bits(key)
  if algorithm == 'RS256' then
    if kind ~= RSA or bits < 2048 then
      return nil, 'RS256 needs an RSA key of at least 2048 bits'
    end
  elseif kind ~= EC or bits ~= 256 then
    return nil, 'ES256 needs a key on the curve P-256'
  end
  return key
end

local function is_signed(key, signature, text)
  local context = crypto.EVP_MD_CTX_new()
  local good = crypto.EVP_DigestVerifyInit(context, nil, crypto.EVP_sha256(), nil, key) == 1
    and crypto.EVP_DigestVerify(context, signature, #signature, text, #text) == 1
  crypto.EVP_MD_CTX_free(context)
  crypto.ERR_clear_error()
  return good
end

-- One number of an ECDSA signature as ASN.1 has it: positive, and without leading zeros.
local function asn1_integer(bytes)
  bytes = bytes:gsub('^%z+', '')
  if bytes == '' or bytes:byte() >= 128 then
    bytes = '\0' .. bytes
  end
  return '\2' .. string.char(#bytes) .. bytes
end

-- Whether the text is signed with the key's other half, as JWS has signatures.
function M.verify(key, algorithm, signature, text)
  if algorithm == 'ES256' then
    if #signature ~= 64 then
      return false
    end
    local numbers = asn1_integer(signature:sub(1, 32)) .. asn1_integer(signature:sub(33))
    signature = '\48' .. string.char(#numbers) .. numbers
  end
  return is_signed(key, signature, text)
end

return M
