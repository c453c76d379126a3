# Logs in by SCRAM-SHA-256-PLUS over implicit TLS (RFC 5802, RFC 9266).
# perl scram_plus.pl PORT USER PASSWORD HEADER BINDING: HEADER is the GS2 header,
# BINDING is "right", "wrong" or "none". Prints the last reply's code.
use strict;
use warnings;
use Digest::SHA qw(sha256 hmac_sha256);
use IO::Socket::SSL;
use MIME::Base64;
use Net::SSLeay;

my ($port, $user, $password, $mechanism, $header, $binding) = @ARGV;
my $socket = IO::Socket::SSL->new(PeerAddr => "127.0.0.1:$port", SSL_verify_mode => SSL_VERIFY_NONE, Timeout => 20)
    or die "connect: $! $SSL_ERROR";

sub reply {
    my @lines;
    while (my $line = <$socket>) {
        $line =~ s/\r?\n$//;
        push @lines, $line;
        last if $line =~ /^\d{3} /;
    }
    return @lines;
}

sub say_line { print $socket "$_[0]\r\n"; return reply(); }
sub end_with { print substr($_[0], 0, 3), "\n"; exit 0; }

reply();
say_line("EHLO client.test");
my $exported = Net::SSLeay::export_keying_material($socket->_get_ssl_object, 32, "EXPORTER-Channel-Binding", "");
my $bound = $binding eq "right" ? $exported : $binding eq "wrong" ? "x" x 32 : "";
my $nonce = encode_base64(join("", map { chr(int(rand(256))) } 1 .. 18), "");
my $first = "n=$user,r=$nonce";
my ($answer) = say_line("AUTH $mechanism " . encode_base64("$header$first", ""));
end_with($answer) if $answer !~ /^334 /;
my $server_first = decode_base64(substr($answer, 4));
my ($full, $salt, $count) = $server_first =~ /^r=([^,]+),s=([^,]+),i=(\d+)$/ or die $server_first;
my $block = hmac_sha256(decode_base64($salt) . pack("N", 1), $password);
my $salted = $block;
for (2 .. $count) { $block = hmac_sha256($block, $password); $salted ^= $block; }
my $final = "c=" . encode_base64($header . $bound, "") . ",r=$full";
my $message = "$first,$server_first,$final";
my $client_key = hmac_sha256("Client Key", $salted);
my $proof = $client_key ^ hmac_sha256($message, sha256($client_key));
($answer) = say_line(encode_base64("$final,p=" . encode_base64($proof, ""), ""));
end_with($answer) if $answer !~ /^334 /;
my $want = "v=" . encode_base64(hmac_sha256($message, hmac_sha256("Server Key", $salted)), "");
die "the server's signature is wrong" if decode_base64(substr($answer, 4)) ne $want;
($answer) = say_line("");
end_with($answer);
